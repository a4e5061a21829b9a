"""Findings that only show when runs, or a run and Metal's limits, are compared.

An output that depends on the schedule is a fault, with two exceptions: sums of floats in another
order differ by rounding (a note), and a kernel with atomics may mean its results to come in any
order (a warning). Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.metal_sim.dtypes import EPSILON, as_output, values_of
from lab.metal_sim.findings import KINDS, Finding
from lab.metal_sim.image import Image
from lab.metal_sim.kernel import Call, MetalKernel
from lab.metal_sim.launch import Run

MOST_THREADGROUP_BYTES = 32 * 1024
"""On every Apple GPU (Metal feature set tables: maximum threadgroup memory allocation)."""
ROUNDING = 64
"""Epsilons of an output's dtype, times its largest value, by which sums in another order differ."""


def limits_broken(image: Image) -> list[Finding]:
    """Metal makes no pipeline of a kernel with more threadgroup memory."""
    taken = image.threadgroup_bytes
    if taken <= MOST_THREADGROUP_BYTES:
        return []
    named = ", ".join(f"{each.name} {each.bytes}" for each in image.group_variables)
    message = f"{taken} bytes are declared ({named}); Metal allows {MOST_THREADGROUP_BYTES}"
    return [Finding("threadgroup_memory", "error", message)]


def run_faults(run: Run) -> list[Finding]:
    """What a run shows by its end and its buffers."""
    order = run.schedule.order
    faults = [
        Finding(
            "out_of_bounds_write", "error", f"the bytes beside {name} were changed", schedule=order
        )
        for name in run.overwritten
        if not any(KINDS[raw.kind].name == "out_of_bounds_write" for raw in run.findings)
    ]
    if run.complaint:
        faults.append(Finding("time_out", "error", run.complaint, schedule=order))
    for traffic in run.traffic if run.ended else ():
        if traffic.never_written:
            message = f"{traffic.never_written} bytes of {traffic.buffer} were never written"
            faults.append(Finding("unwritten_output", "error", message, schedule=order))
    return faults


def same_outputs(first: Run, second: Run) -> bool:
    """Bit for bit."""
    pairs = zip(first.outputs, second.outputs, strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def schedule_faults(kernel: MetalKernel, call: Call, runs: Sequence[Run]) -> list[Finding]:
    """Outputs of the first schedule against those of each other; the gravest of each output."""
    faults: list[Finding] = []
    first = runs[0]
    for at, name in enumerate(kernel.output_names):
        differences = [
            _difference(name, call.output_dtypes[at], first.outputs[at], run.outputs[at], run)
            for run in runs[1:]
            if first.outputs[at].tobytes() != run.outputs[at].tobytes()
        ]
        faults += sorted(differences, key=lambda fault: fault.severity == "note")[:1]
    return faults


def _difference(name: str, dtype: str, mine: np.ndarray, theirs: np.ndarray, run: Run) -> Finding:
    a = values_of(as_output(dtype, mine)).astype(np.float64).reshape(-1)
    b = values_of(as_output(dtype, theirs)).astype(np.float64).reshape(-1)
    different = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    where = int(np.argmax(different))
    order = run.schedule.order
    said = (
        f"{name} differs between the schedules in_order and {order} in {int(different.sum())} of "
        f"{a.size} elements; the first is {where}: {a[where]:g}, {b[where]:g}"
    )
    if dtype in EPSILON and _only_rounding(a, b, EPSILON[dtype]):
        return Finding("schedule_rounding", "note", said + "; only by rounding", schedule=order)
    severity = "warning" if run.counts.atomics else "error"
    return Finding("schedule_difference", severity, said, schedule=order)  # type: ignore[arg-type]


def _only_rounding(a: np.ndarray, b: np.ndarray, epsilon: float) -> bool:
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    largest = float(np.abs(a[finite]).max(initial=0.0))
    return bool((np.abs(a[finite] - b[finite]) <= ROUNDING * epsilon * largest).all())
