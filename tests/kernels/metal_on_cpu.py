"""`mx.fast.metal_kernel` by the simulator, for tests of the candidates in Metal.

    with metal_on_cpu.launches(builds) as seen:       # every launch within, in order
        function = metal_on_cpu.function(path, "rmsnorm")

The module is executed anew, since a candidate makes its kernels when it is imported.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np

from lab.metal_sim import Bfloat16, Builds, Call, MetalKernel, Report, checked_call, simulate


@dataclass(frozen=True, eq=False)
class Launch:
    """One kernel's call and what came of it."""

    kernel: MetalKernel
    call: Call
    report: Report


class NoOutputs(AssertionError):
    """A kernel did not come to its end."""


@contextmanager
def launches(
    builds: Builds, unchecked: Container[MetalKernel] = frozenset()
) -> Iterator[list[Launch]]:
    """Within, kernels are simulated with all checks; but those that are `unchecked`, and a launch
    like one before, with other values in arrays of the same shapes and dtypes, run once and in fast
    mode."""
    seen: list[Launch] = []
    checked: set[tuple[object, ...]] = set()

    def metal_kernel(
        name: str, input_names: list[str], output_names: list[str], source: str, **more: Any
    ) -> Callable[..., list[mx.array]]:
        kernel = MetalKernel(name, tuple(input_names), tuple(output_names), source, **more)

        def launched(*, inputs: list[Any], **how: Any) -> list[mx.array]:
            given = [to_numpy(one) for one in inputs]
            call = checked_call(kernel, inputs=given, **how)
            form = (kernel, call.template, call.grid, *map(_form, inputs), *call.output_dtypes)
            mode = "fast" if form in checked or kernel in unchecked else "check"
            checked.add(form)
            report = simulate(kernel, call, mode=mode, builds=builds)
            seen.append(Launch(kernel, call, report))
            if report.outputs is None:
                raise NoOutputs(list(map(str, report.findings)))
            return [to_mlx(output) for output in report.outputs]

        return launched

    with mock.patch.object(mx.fast, "metal_kernel", metal_kernel):
        yield seen


def kernels(path: Path) -> list[MetalKernel]:
    """The kernels that a candidate makes when it is imported."""
    made: list[MetalKernel] = []

    def metal_kernel(
        name: str, input_names: list[str], output_names: list[str], source: str, **more: Any
    ) -> None:
        made.append(MetalKernel(name, tuple(input_names), tuple(output_names), source, **more))

    with mock.patch.object(mx.fast, "metal_kernel", metal_kernel):
        runpy.run_path(str(path))
    return made


def function(path: Path, name: str) -> Callable[..., Any]:
    """The function `name` of a candidate, to be called within `launches`."""
    return runpy.run_path(str(path))[name]  # type: ignore[no-any-return]


def to_numpy(value: Any) -> Any:
    """What the simulator takes for an input: arrays by value, numbers as they are."""
    if not isinstance(value, mx.array):
        return value
    if value.dtype == mx.bfloat16:
        return Bfloat16(np.array(value.view(mx.uint16)))
    return np.array(value)


def to_mlx(output: np.ndarray | Bfloat16) -> mx.array:
    """An array of what the simulator returned."""
    if isinstance(output, Bfloat16):
        return mx.array(output.bits).view(mx.bfloat16)
    return mx.array(output)


def _form(value: Any) -> tuple[object, ...]:
    return (value.shape, value.dtype) if isinstance(value, mx.array) else ()
