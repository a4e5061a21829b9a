"""The starting points in Metal are right in every case, and every check of the simulator is clean.

Allowed is what verify allows on the same input at its first look. Seen on a CPU only: that a kernel
runs on Metal, and how fast, no test here says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import kernel_calls as calls
import metal_on_cpu
import mlx_calls
import pytest
import torch

from kernels.spec import Case, TargetFolder
from lab.harness import tolerances
from lab.metal_sim import Builds

IN_METAL = [
    name for name, folder in calls.FOLDERS.items() if folder.starting_candidate("metal") is not None
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# What no case of these sizes reaches: inputs of fewer than eight elements, which are `constant`
# memory, rows that a threadgroup goes over more than once, and vectors of more than 64 channels.
MORE = {
    "relu_squared": (Case("constant", {"batch": 1, "sequence": 1, "hidden": 3}),),
    "rmsnorm": (
        Case("several_fours", {"batch": 1, "sequence": 3, "width": 5001}),
        Case("widest", {"batch": 1, "sequence": 1, "width": 16384}),
    ),
    "rope_qk_norm": tuple(
        Case(
            f"head_of_{size}",
            {"batch": 1, "sequence": tokens, "heads": 2, "head_dim": size, "half": size // 2}
            | {"first_position": 3},
        )
        for size, tokens in ((2, 1), (128, 3), (354, 2), (512, 2))
    ),
    "softcap_cross_entropy": (
        Case("constant", {"tokens": 1, "vocab": 5, "ignored_percent": 0}),
        Case("several_turns", {"tokens": 3, "vocab": 2309, "ignored_percent": 40}),
    ),
}
ALL = [
    (name, case)
    for name in IN_METAL
    for case in (*calls.FOLDERS[name].target.cases(calls.SHAPE), *MORE.get(name, ()))
]


def metal(folder: TargetFolder) -> Path:
    return folder.path / "candidates" / "metal.py"


def theirs(folder: TargetFolder, content: calls.Content) -> Mapping[str, torch.Tensor]:
    """What the incumbent makes of it: MLX's where there is one."""
    if folder.id in mlx_calls.WITH_MLX:
        return mlx_calls.call(folder, calls.function(folder.incumbent("mlx"), folder.id), content)
    return calls.call(folder, calls.function(folder.incumbent("torch"), folder.id), content)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "case"), ALL, ids=[f"{name}-{case.name}" for name, case in ALL])
def test_right_and_clean(name: str, case: Case, dtype: torch.dtype, builds: Builds) -> None:
    """A starting point that verify rejects would start everybody in the wrong place."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, case, dtype)
    with metal_on_cpu.launches(builds) as seen:
        candidate = metal_on_cpu.function(metal(folder), name)
        found = mlx_calls.call(folder, candidate, content)
    assert seen
    for one in seen:
        assert not one.report.findings, (one.kernel.name, list(map(str, one.report.findings)))
    incumbent = theirs(folder, content)
    for tensor, expected in calls.oracle(folder, content).items():
        assert found[tensor].dtype == incumbent[tensor].dtype
        assert found[tensor].shape == incumbent[tensor].shape
        kind = str(found[tensor].dtype).removeprefix("torch.")
        within = tolerances.bounds(expected, incumbent[tensor], kind)
        away = tolerances.distance(found[tensor], within)
        assert away.ok, (tensor, away)
