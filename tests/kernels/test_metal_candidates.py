"""The starting points in Metal are right in every case, and every check of the simulator is clean.

Allowed is what verify allows on the same input. Seen on a CPU only: that a kernel runs on Metal,
and how fast, no test here says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import kernel_calls as calls
import metal_on_cpu
import mlx_calls
import numpy as np
import pytest
import torch

from kernels.spec import Case, TargetFolder, TrainingShape
from lab.harness import inputs, tolerances, variations
from lab.harness.appeal import NEIGHBOURS
from lab.metal_sim import Builds

IN_METAL = [
    name for name, folder in calls.FOLDERS.items() if folder.starting_candidate("metal") is not None
]
NARROW_TOO = [torch.float32, torch.float16, torch.bfloat16]
KEEP_PRODUCTS = ("attention_prelude", "fused_mlp")
# What no case of these sizes reaches: inputs of fewer than eight elements, which are `constant`
# memory, rows that a threadgroup goes over more than once, and vectors of more than 64 channels
# (attention: also of eight, the fewest).
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
    "attention_prelude": (
        Case(
            "head_of_194",
            {"batch": 1, "sequence": 2, "heads": 2, "head_dim": 194, "width": 16, "half": 97}
            | {"first_position": 3},
        ),
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
    "sliding_window_attention": tuple(
        Case(
            f"head_of_{size}",
            {"batch": 1, "sequence": tokens, "heads": 2, "head_dim": size, "window": 13},
        )
        for size, tokens in ((8, 17), (72, 41), (256, 17))
    ),
}
ALL = [
    (name, case)
    for name in IN_METAL
    for case in (*calls.FOLDERS[name].target.cases(calls.SHAPE), *MORE.get(name, ()))
]


def dtypes(name: str, case: Case | None = None) -> list[torch.dtype]:
    """The target's own, and float16 beside bfloat16, unless products of the case overflow it."""
    if "bfloat16" not in calls.FOLDERS[name].target.dtypes:
        return [torch.float32]
    overflows = case is not None and case.scale >= 1e3 and name in KEEP_PRODUCTS
    return [dtype for dtype in NARROW_TOO if not (overflows and dtype == torch.float16)]


def metal(folder: TargetFolder) -> Path:
    return folder.path / "candidates" / "metal.py"


def theirs(folder: TargetFolder, content: calls.Content) -> Mapping[str, torch.Tensor]:
    """What the incumbent makes of it: MLX's where there is one."""
    if folder.id in mlx_calls.WITH_MLX:
        return mlx_calls.call(folder, calls.function(folder.incumbent("mlx"), folder.id), content)
    return calls.call(folder, calls.function(folder.incumbent("torch"), folder.id), content)


@pytest.mark.parametrize(
    ("name", "case", "dtype"),
    [(name, case, dtype) for name, case in ALL for dtype in dtypes(name, case)],
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
        within = bounds(tensor, expected, incumbent)
        if not tolerances.distance(found[tensor], within).ok:
            within = tolerances.widest(within, near(folder, content, tensor))
        away = tolerances.distance(found[tensor], within)
        assert away.ok, (tensor, away)


def bounds(
    tensor: str, expected: torch.Tensor, incumbent: Mapping[str, torch.Tensor]
) -> tolerances.Bounds:
    kind = str(incumbent[tensor].dtype).removeprefix("torch.")
    return tolerances.bounds(expected, incumbent[tensor], kind)


def near(folder: TargetFolder, content: calls.Content, tensor: str) -> Iterator[tolerances.Bounds]:
    """On inputs a rounding away, as in the judge's second look."""
    random = np.random.default_rng(0)
    for _ in range(NEIGHBOURS):
        given = inputs.Content(content.inputs, content.incoming, content.scalars)
        other = variations.nudged(given, random)
        neighbour = calls.Content(other.inputs, other.incoming, other.scalars)
        right = calls.oracle(folder, neighbour)[tensor]
        yield bounds(tensor, right, theirs(folder, neighbour))


def test_chunks_of_tokens_give_what_one_gives(builds: Builds) -> None:
    """The gradient of the logits is made for some tokens at a time; the sums go over all."""
    folder = calls.FOLDERS["linear_softcap_cross_entropy"]
    case = next(case for case in folder.target.odd_cases if case.name == "odd_sizes")
    content = calls.draw(folder, case, torch.float32)
    with metal_on_cpu.launches(builds) as seen:
        function = metal_on_cpu.function(metal(folder), folder.id)
        whole = mlx_calls.call(folder, function, content)
        function.__globals__["CHUNK_ELEMENTS"] = 1  # 64 tokens, of 127
        in_chunks = mlx_calls.call(folder, function, content)
    assert [len(one.report.outputs[0]) for one in seen] == [127, 127, 127, 64, 63]
    for tensor, expected in whole.items():
        torch.testing.assert_close(in_chunks[tensor], expected, rtol=1e-5, atol=1e-6)


def test_a_key_with_all_of_the_probability_has_no_gradient(builds: Builds) -> None:
    """Verify's bounds refuse the rounding that sum(dy y) leaves there."""
    folder = calls.FOLDERS["sliding_window_attention"]
    case = next(case for case in folder.target.odd_cases if case.name == "odd_sizes")
    content = calls.draw(folder, case, torch.float32)
    q, k, v = content.inputs
    content = replace(content, inputs=(1e4 * q, 1e4 * k, v))
    with metal_on_cpu.launches(builds):
        found = mlx_calls.call(folder, metal_on_cpu.function(metal(folder), folder.id), content)
    right = calls.oracle(folder, content)
    for tensor in ("dq", "dk"):
        assert not right[tensor].any()
        assert not found[tensor].any()
    torch.testing.assert_close(found["y"].double(), right["y"])


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
PRODUCTS = {
    "attention_prelude",
    "fused_mlp",
    "linear_softcap_cross_entropy",
    "muon_orthogonalize",
    "sliding_window_attention",
}
"""Bound by arithmetic; their tiles are read as often as there are tiles beside them."""
UNIFORM_READS = {"softcap_cross_entropy": 1.16}
"""There 256 threads each read the class, the sums and the gradient of their token. All of these are
counted, though a GPU reads once for a simdgroup."""


@pytest.mark.parametrize("name", [name for name in IN_METAL if name not in PRODUCTS])
def test_no_byte_is_moved_twice(name: str, builds: Builds, checkout: Path) -> None:
    """These ops are bound by memory: a second pass over their data would cost that much time. The
    table in docs/metal.md has the numbers of this test."""
    folder = calls.FOLDERS[name]
    [case] = folder.target.train_cases(TRAINING)
    fewer = {"weights": 8193, "ignored_percent": 0}  # rows of ignored tokens are not read at all
    case = replace(case, dims={axis: fewer.get(axis, size) for axis, size in case.dims.items()})
    dtype = dtypes(name)[-1]
    content = calls.draw(folder, case, dtype)
    with metal_on_cpu.launches(builds) as seen:
        mlx_calls.call(folder, metal_on_cpu.function(metal(folder), name), content)
    least = folder.target.cost(case.dims, dtype.itemsize)
    backward = [one.report.device_bytes for one in seen if one.kernel.name.endswith("_vjp")]
    forward = [one.report.device_bytes for one in seen if not one.kernel.name.endswith("_vjp")]
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
