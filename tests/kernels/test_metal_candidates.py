"""The starting points in Metal are right in every case, and every check of the simulator is clean.

Allowed is what verify allows on the same input at its first look. Seen on a CPU only: that a kernel
runs on Metal, and how fast, no test here says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import kernel_calls as calls
import metal_on_cpu
import mlx_calls
import pytest
import torch

from kernels.spec import Case, TargetFolder, TrainingShape
from lab.harness import tolerances
from lab.metal_sim import Builds

IN_METAL = [
    name for name, folder in calls.FOLDERS.items() if folder.starting_candidate("metal") is not None
]
NARROW_TOO = [torch.float32, torch.float16, torch.bfloat16]
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
    "residual_rmsnorm": (
        Case("several_fours", {"batch": 1, "sequence": 3, "width": 5001, "one": 1}),
    ),
    "value_embed_gate": (
        Case(
            "wide_heads",
            {"batch": 1, "sequence": 5, "width": 40, "channels": 7, "heads": 2, "head_dim": 262}
            | {"decades": 0},
        ),
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


def dtypes(folder: TargetFolder) -> list[torch.dtype]:
    """The target's own, and float16 beside bfloat16."""
    return NARROW_TOO if "bfloat16" in folder.target.dtypes else [torch.float32]


def metal(folder: TargetFolder) -> Path:
    return folder.path / "candidates" / "metal.py"


def theirs(folder: TargetFolder, content: calls.Content) -> Mapping[str, torch.Tensor]:
    """What the incumbent makes of it: MLX's where there is one."""
    if folder.id in mlx_calls.WITH_MLX:
        return mlx_calls.call(folder, calls.function(folder.incumbent("mlx"), folder.id), content)
    return calls.call(folder, calls.function(folder.incumbent("torch"), folder.id), content)


@pytest.mark.parametrize(
    ("name", "case", "dtype"),
    [(name, case, dtype) for name, case in ALL for dtype in dtypes(calls.FOLDERS[name])],
    ids=lambda value: value.name if isinstance(value, Case) else str(value),
)
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


TRAINING = TrainingShape(
    batch=2,
    sequence=8,
    width=512,
    heads=4,
    head_dim=128,
    vocab=8192,
    layers=1,
    matrices=(),
)
"""Rows as in training, of a few tokens."""
MOST_RATIO = 1.05
UNIFORM_READS = {"softcap_cross_entropy": 1.16}
"""There 256 threads each read the class, the sums and the gradient of their token. All of these are
counted, though a GPU reads once for a simdgroup."""


@pytest.mark.parametrize("name", [name for name in IN_METAL if name != "muon_orthogonalize"])
def test_no_byte_is_moved_twice(name: str, builds: Builds, checkout: Path) -> None:
    """These ops are bound by memory: a second pass over their data would cost that much time. The
    table in docs/metal.md has the numbers of this test."""
    folder = calls.FOLDERS[name]
    [case] = folder.target.train_cases(TRAINING)
    fewer = {"weights": 8193, "ignored_percent": 0}  # rows of ignored tokens are not read at all
    case = replace(case, dims={axis: fewer.get(axis, size) for axis, size in case.dims.items()})
    dtype = dtypes(folder)[-1]
    content = calls.draw(folder, case, dtype)
    with metal_on_cpu.launches(builds) as seen:
        mlx_calls.call(folder, metal_on_cpu.function(metal(folder), name), content)
    least = folder.target.cost(case.dims, dtype.itemsize)
    backward = [one.bytes_moved for one in seen if one.kernel.name.endswith("_vjp")]
    forward = [one.bytes_moved for one in seen if not one.kernel.name.endswith("_vjp")]
    row = f"| `{name}` |"
    for moved, at_least in ((forward, least.bytes_forward), (backward, least.bytes_backward)):
        if at_least:
            assert 0.999 <= sum(moved) / at_least <= UNIFORM_READS.get(name, MOST_RATIO)
            elements = content.inputs[0].numel()
            row += f" {sum(moved) / elements:.2f} | {at_least / elements:.2f} |"
        else:
            assert not moved
            row += " none | |"
    assert row in (checkout / "docs" / "metal.md").read_text()
