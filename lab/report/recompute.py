"""Recomputes the recorded intervals from the raw samples beside them, and names what disagrees.

The page shows the intervals as they were recorded. That they follow from the samples is checked
here, by the same formulas as the bench's (`lab.bench_intervals`) and the A/B's (`lab.stats`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

from lab.outcomes import Compared, Interval, Measured

TOLERANCE = 1e-6
"""Relative. The same formula on the same numbers differs by rounding only, about 1e-15."""


def bench_disagreements(outcome: Measured) -> list[str]:
    """What the bench recorded and its raw block times do not give; empty if all agrees."""
    return list(_bench(outcome))


def ab_disagreements(outcome: Compared) -> list[str]:
    """What the A/B recorded and its pairs do not give; empty if all agrees."""
    return list(_ab(outcome))


def _bench(outcome: Measured) -> Iterator[str]:
    from lab.bench_intervals import control, speedup

    for case in outcome.cases:
        name = f"speed-up of {case.case} {case.dtype}"
        yield from _compare(name, case.speedup, partial(speedup, [case]))
    yield from _compare("geometric mean", outcome.speedup, partial(speedup, outcome.cases))
    yield from _compare("control", outcome.control, partial(control, outcome.cases))


def _ab(outcome: Compared) -> Iterator[str]:
    from lab.paired import speedup_interval
    from lab.stats import difference_interval

    differences = [pair.candidate.val_bpb - pair.incumbent.val_bpb for pair in outcome.pairs]
    yield from _compare("step speed-up", outcome.speedup, partial(speedup_interval, outcome.pairs))
    yield from _compare("val_bpb", outcome.val_bpb, partial(difference_interval, differences))


def _compare(name: str, stored: Interval, compute: Callable[[float], Interval]) -> Iterator[str]:
    """`compute` takes the confidence."""
    try:
        found = compute(stored.confidence)
    except ValueError as error:
        yield f"{name} cannot be recomputed: {error}"
        return
    pairs = ((stored.point, found.point), (stored.low, found.low), (stored.high, found.high))
    if not all(math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12) for a, b in pairs):
        yield (
            f"{name} was recorded as {stored.point:.6g} [{stored.low:.6g}, {stored.high:.6g}], but "
            f"its samples give {found.point:.6g} [{found.low:.6g}, {found.high:.6g}]"
        )
