"""A calibration as text. Importing this teaches it to `lab.describe.describe`."""

from __future__ import annotations

import statistics
from typing import Any

from lab import gate_calibration
from lab.describe import describe, plain, table
from lab.outcomes import Compared
from lab.paired import log_speedups
from lab.records import Calibrated, Handicap
from lab.report.numbers import ratio_text


@describe.register
def _(value: Calibrated) -> list[Any]:
    runs = {one.slowed_by: one for one in value.runs}
    rows = [
        [
            f"slowed by {one.slowed_by:.0%}" if one.slowed_by else "exact copy",
            *_bench_cells(one),
            *_run_cells(runs.get(one.slowed_by)),
        ]
        for one in value.benches
    ]
    headings = ("copy", ">bench", "found", ">training step", ">pairs", "found")
    trouble = gate_calibration.trouble(value)
    verdict = f"NOT GOOD ENOUGH for the gate: {trouble}" if trouble else "good enough for the gate"
    return [
        plain(f"calibration of {value.machine.hardware}, engine {value.engine}: {verdict}"),
        table(headings, rows),
        *(plain(text) for text in [_spread(runs.get(0.0))] if text),
    ]


def _bench_cells(one: Handicap) -> list[str]:
    interval = gate_calibration.bench_interval(one)
    if interval is None:
        return [str(getattr(one.outcome, "reason", "")), "nothing"]
    found = "slower" if gate_calibration.found_slower(one) else "no"
    return [ratio_text(interval), found]


def _run_cells(one: Handicap | None) -> list[str]:
    if one is None:
        return ["", "", "not run"]
    if not isinstance(one.outcome, Compared):
        return [str(getattr(one.outcome, "reason", "")), "", "nothing"]
    found = gate_calibration.found_in_training(one)
    return [ratio_text(one.outcome.speedup), str(len(one.outcome.pairs)), found]


def _spread(copy: Handicap | None) -> str:
    """How far the two runs of a pair of the A/A lie apart."""
    if copy is None or not isinstance(copy.outcome, Compared):
        return ""
    pairs = copy.outcome.pairs
    ratios = log_speedups(pairs)
    differences = [p.candidate.val_bpb - p.incumbent.val_bpb for p in pairs]
    return (
        f"between the two runs of a pair ({len(pairs)} pairs, standard deviation): step time "
        f"{statistics.stdev(ratios):.2%}, val_bpb {statistics.stdev(differences):.6f}"
    )
