"""How the tests of the simulator run a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from lab.metal_sim import Builds, MetalKernel, Report, checked_call, simulate
from lab.metal_sim.dtypes import Input

Outputs = Mapping[str, tuple[tuple[int, ...], str]]
Simulate = Callable[..., Report]


@pytest.fixture
def run(builds: Builds) -> Simulate:
    """`run(body, {"inp": array}, {"out": (shape, dtype)}, grid=64)` -> Report."""

    def simulated(
        body: str,
        inputs: Mapping[str, Input],
        outputs: Outputs,
        *,
        grid: int | Sequence[int] = 1,
        threadgroup: int | Sequence[int] | None = None,
        header: str = "",
        template: Sequence[tuple[str, object]] = (),
        init_value: float | None = None,
        atomic_outputs: bool = False,
        ensure_row_contiguous: bool = True,
        **how: object,
    ) -> Report:
        kernel = MetalKernel(
            "tried",
            tuple(inputs),
            tuple(outputs),
            body,
            header,
            ensure_row_contiguous=ensure_row_contiguous,
            atomic_outputs=atomic_outputs,
        )
        call = checked_call(
            kernel,
            inputs=list(inputs.values()),
            output_shapes=[shape for shape, _ in outputs.values()],
            output_dtypes=[dtype for _, dtype in outputs.values()],
            grid=_three(grid),
            threadgroup=_three(grid if threadgroup is None else threadgroup),
            template=template,
            init_value=init_value,
        )
        return simulate(kernel, call, builds=builds, **how)

    return simulated


def _three(size: int | Sequence[int]) -> Sequence[int]:
    return (size, 1, 1) if isinstance(size, int) else size
