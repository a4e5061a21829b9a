"""What the kernels of metal_kernels.py are run with, and what numpy says they compute.

Sizes are small and odd: no tile, simdgroup or vector fits without a rest, so that a missing guard
shows. A case is run by `simulated(run, CASES["softmax"], body)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import metal_kernels
import numpy as np

from lab.metal_sim import Report

DRAW = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Case:
    """A kernel, its arguments, and the values of its only output."""

    body: str
    inputs: Mapping[str, np.ndarray]
    output: str
    expected: np.ndarray
    grid: tuple[int, int, int]
    threadgroup: tuple[int, int, int]
    tolerance: float = 1e-4
    init_value: float | None = None
    atomic_outputs: bool = False
    template: tuple[tuple[str, object], ...] = ()


def simulated(run: Callable[..., Report], case: Case, body: str) -> Report:
    """The case with `body` in place of its own."""
    return run(
        body,
        case.inputs,
        {case.output: (case.expected.shape, case.expected.dtype.name)},
        grid=case.grid,
        threadgroup=case.threadgroup,
        template=case.template,
        init_value=case.init_value,
        atomic_outputs=case.atomic_outputs,
    )


def right(case: Case, report: Report) -> bool:
    """Whether one ordinary run computes what it should."""
    if report.outputs is None:
        return False
    return bool(np.allclose(report.outputs[0], case.expected, atol=case.tolerance, rtol=1e-4))


def _matmul() -> Case:
    left, right = drawn(24, 26), drawn(26, 20)
    return Case(
        metal_kernels.MATMUL, {"a": left, "b": right}, "out", left @ right, (32, 32, 1), (16, 16, 1)
    )


def _simdgroup_matmul() -> Case:
    left, right = drawn(16, 24).astype(np.float16), drawn(24, 32).astype(np.float16)
    expected = left.astype(np.float32) @ right.astype(np.float32)
    return Case(
        metal_kernels.SIMDGROUP_MATMUL, {"lhs": left, "rhs": right}, "out", expected, (128, 2, 1),
        (64, 1, 1), template=(("T", "float16"),),
    )  # fmt: skip


def _softmax() -> Case:
    rows = drawn(3, 333)
    powers = np.exp(rows - rows.max(1, keepdims=True))
    expected = powers / powers.sum(1, keepdims=True)
    return Case(metal_kernels.SOFTMAX, {"inp": rows}, "out", expected, (3 * 96, 1, 1), (96, 1, 1))


def _rms_norm() -> Case:
    rows, weight = drawn(3, 603).astype(np.float16), drawn(603).astype(np.float16)
    wide = rows.astype(np.float64)
    scaled = wide / np.sqrt((wide**2).mean(1, keepdims=True) + 1e-5) * weight
    return Case(
        metal_kernels.RMS_NORM, {"inp": rows, "weight": weight}, "out",
        scaled.astype(np.float16), (3 * 160, 1, 1), (160, 1, 1), tolerance=5e-3,
    )  # fmt: skip


def _cross_entropy() -> Case:
    logits, targets = drawn(5, 150), np.array([-1, 0, 149, 7, -1], np.int32)
    sums = np.log(np.exp(logits.astype(np.float64)).sum(1))
    losses = np.where(targets < 0, 0, sums - logits[np.arange(5), targets])
    return Case(
        metal_kernels.CROSS_ENTROPY, {"logits": logits, "targets": targets}, "losses",
        losses.astype(np.float32), (5 * 64, 1, 1), (64, 1, 1),
    )  # fmt: skip


def _sum() -> Case:
    values = drawn(500)
    return Case(
        metal_kernels.SUM, {"inp": values}, "out", values.sum(dtype=np.float64, keepdims=True)
        .astype(np.float32), (512, 1, 1), (256, 1, 1), init_value=0.0, atomic_outputs=True,
    )  # fmt: skip


def _rope() -> Case:
    heads = drawn(2, 5, 20)
    angles = np.arange(5)[:, None] * 2.0 ** (-np.arange(10) / 10 * 13.2877)
    first, second = heads[..., :10], heads[..., 10:]
    turned = [
        first * np.cos(angles) - second * np.sin(angles),
        first * np.sin(angles) + second * np.cos(angles),
    ]
    expected = np.concatenate(turned, -1).astype(np.float32)
    return Case(metal_kernels.ROPE, {"inp": heads}, "out", expected, (16, 10, 1), (16, 2, 1))


def _transpose() -> Case:
    values = drawn(20, 27)
    return Case(
        metal_kernels.TRANSPOSE, {"inp": values}, "out", values.T.copy(), (32, 32, 1), (16, 16, 1)
    )


def _histogram() -> Case:
    values = DRAW.integers(0, 16, 200).astype(np.uint32)
    counts = np.bincount(values, minlength=16).astype(np.uint32)
    return Case(
        metal_kernels.HISTOGRAM, {"inp": values}, "out", counts, (256, 1, 1), (64, 1, 1),
        init_value=0, atomic_outputs=True,
    )  # fmt: skip


def _scan() -> Case:
    values = drawn(2, 300)
    expected = np.cumsum(values, 1, dtype=np.float64).astype(np.float32)
    return Case(metal_kernels.SCAN, {"inp": values}, "out", expected, (256, 1, 1), (128, 1, 1))


def _scatter() -> Case:
    index, updates = DRAW.integers(0, 5, 64).astype(np.int32), drawn(64, 8)
    expected = np.zeros((5, 8), np.float32)
    np.add.at(expected, index, updates)
    return Case(
        metal_kernels.SCATTER, {"index": index, "inp": updates}, "out", expected, (512, 1, 1),
        (64, 1, 1), init_value=0.0, atomic_outputs=True,
    )  # fmt: skip


def _squared_relu() -> Case:
    values = drawn(203)
    return Case(
        metal_kernels.SQUARED_RELU, {"inp": values}, "out", np.maximum(values, 0) ** 2, (64, 1, 1),
        (32, 1, 1),
    )  # fmt: skip


CASES = {
    "matmul": _matmul(),
    "simdgroup matmul": _simdgroup_matmul(),
    "softmax": _softmax(),
    "rmsnorm": _rms_norm(),
    "cross-entropy": _cross_entropy(),
    "sum": _sum(),
    "rope": _rope(),
    "transpose": _transpose(),
    "histogram": _histogram(),
    "scan": _scan(),
    "scatter": _scatter(),
    "squared relu": _squared_relu(),
}
