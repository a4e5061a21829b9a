"""Correct kernels raise no error, however odd; the two known false alarms are held in view."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from metal_tricky import FALSE_ALARMS, TRICKY, Tricky

from lab.metal_sim import Report

Run = Callable[..., Report]
INPUT = np.random.default_rng(3).uniform(1.0, 2.0, 64).astype(np.float32)


def simulated(run: Run, kernel: Tricky) -> Report:
    return run(
        kernel.body,
        {"inp": INPUT},
        {"out": ((64,), "float32")},
        grid=kernel.grid,
        threadgroup=kernel.threadgroup,
        init_value=kernel.init_value,
        atomic_outputs=kernel.atomic_outputs,
    )


def computes_what_numpy_does(kernel: Tricky, report: Report) -> bool:
    expected = kernel.expected(INPUT)
    assert report.outputs is not None
    found = report.outputs[0][: len(expected)]
    return np.allclose(found, expected, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("kernel", TRICKY, ids=lambda kernel: kernel.name)
def test_a_correct_kernel_raises_no_error(run: Run, kernel: Tricky) -> None:
    report = simulated(run, kernel)
    assert report.passed, [str(finding) for finding in report.findings]
    assert {finding.kind for finding in report.findings} == kernel.raises
    assert computes_what_numpy_does(kernel, report)


@pytest.mark.parametrize("kernel", FALSE_ALARMS, ids=lambda kernel: kernel.name)
def test_a_known_false_alarm(run: Run, kernel: Tricky) -> None:
    """docs/metal.md names them. Whoever mends one moves it to TRICKY and changes the page."""
    report = simulated(run, kernel)
    assert {finding.kind for finding in report.of("error")} == kernel.raises
    assert computes_what_numpy_does(kernel, report)
