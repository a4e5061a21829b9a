"""The intervals of a bench, from its raw block times: one case, all cases, the control.

    speedup(cases), control(cases)      each an Interval of incumbent / arm, above 1 is faster

Used by the bench that records them, by the gate and the report that recompute them, and by the rule
that says when a bench may stop. Pure; `ValueError` where the samples carry no interval.

What is replicated is the process. Two workers with the same file differ by a percent for reasons
that lie in neither (where the loader put things, which core a thread was bound to), and all blocks
of these workers share the difference. So each generation of fresh workers gives one number: per
case the mean of the middle half of its log ratios, then the mean over cases, which share the
workers too. The interval is Student's over these few numbers. It is never narrower than the one
that takes all blocks as independent (`lab.stats`): generations that agree by luck claim no more
than their blocks.

Simulated with workers that differ by 0.5, 1 and 2%, the 95% interval holds the truth 94.7 to 97.5%
of the time; the one over the blocks of a single generation holds it 8 to 80% of the time
(tests/benchmarks/test_generation_coverage.py). A bootstrap over so few generations would cover
less: it never draws a spread larger than the one it saw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from lab import stats
from lab.outcomes import CaseTiming, Interval

TRIM = 0.25
"""Share of a generation's blocks left out at each end: of 8, two. With one, a neighbour that slows
every tenth block makes the interval four times as wide."""


def speedup(cases: Sequence[CaseTiming], confidence: float = 0.95) -> Interval:
    """incumbent / candidate, geometric mean over cases with equal weight."""
    return _interval([(c, c.candidate_ms) for c in cases], confidence)


def control(cases: Sequence[CaseTiming], confidence: float = 0.95) -> Interval:
    """incumbent / control: what the same bench finds between two workers with the same file."""
    return _interval([(c, c.control_ms) for c in cases], confidence)


def half_width(interval: Interval) -> float:
    """As a share of the ratio; 0.01 is a little over one percent to either side."""
    return math.log(interval.high / interval.low) / 2


def _interval(cases: Sequence[tuple[CaseTiming, tuple[float, ...]]], confidence: float) -> Interval:
    blocks = stats.geomean_interval([(c.incumbent_ms, arm) for c, arm in cases], confidence)
    found = [
        middles(stats.log_ratios(case.incumbent_ms, arm).tolist(), case.generation)
        for case, arm in cases
    ]
    if any(case.keys() != found[0].keys() for case in found):
        raise ValueError("the cases were timed in different generations of workers")
    if len(found[0]) < 2:
        return blocks
    means = [sum(case[number] for case in found) / len(found) for number in found[0]]
    mean, _, high = stats.mean_bounds(means, (1 - confidence) / 2)
    half = max(high - mean, half_width(blocks))
    return Interval(
        point=math.exp(mean),
        low=math.exp(mean - half),
        high=math.exp(mean + half),
        samples=len(means),
        confidence=confidence,
    )


def middles(values: Sequence[float], generation: Sequence[int]) -> dict[int, float]:
    """The mean of the middle half of the blocks of each generation; none named: all are of one."""
    numbers = generation or (0,) * len(values)
    if len(numbers) != len(values):
        raise ValueError(f"{len(values)} blocks, but generations of {len(numbers)}")
    pairs = sorted(zip(numbers, values, strict=True))
    return {
        number: _middle([value for _, value in some])
        for number, some in groupby(pairs, itemgetter(0))
    }


def _middle(ordered: list[float]) -> float:
    cut = int(TRIM * len(ordered))
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)
