"""Intervals and sequential looks for paired measurements. Pure functions over plain sequences.

Used by the bench (`ratio_interval`, `geomean_interval`), by the A/B (`look`) and by the gate, which
recomputes every number that it decides on from the raw samples in the records. Never draws a random
number, reads a clock, deletes a sample or returns NaN: samples that cannot carry an interval raise
`ValueError` saying which and why.

Bench intervals are Yuen's: a t interval on the 20% trimmed mean of the paired log ratios, with the
winsorised variance (Yuen, Biometrika 61, 1974, p. 165). Simulated over 8 to 40 blocks of normal,
t(3), Cauchy, lognormal, spiky and two-state noise, its 95% interval holds the truth 94.0% to 97.5%
of the time; with spikes it is 7 to 14 times narrower than the plain t interval
(tests/benchmarks/test_interval_coverage.py). Below `TRIM_FROM` blocks nothing is trimmed, and it is
the plain t interval. What it estimates is the typical block: a cost that falls on fewer than one
block in five is for the A/B to see, whose wall clock contains everything. Blocks must be
independent: where neighbouring ones correlate at 0.6, coverage falls to 70 to 74%.

A/B looks are one-sided t tests, nothing trimmed: on the mean log step-time ratio for the gain, on
the mean difference for val_bpb. `attempt_share` says which share of the allowed error each A/B on
one target may spend, `LOOK_SHARE` which part of that each look may; by the union bound all of them
together never spend more than the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from lab.outcomes import Interval

if TYPE_CHECKING:
    import numpy as np

TRIM = 0.2
"""The share of blocks trimmed from each end."""
TRIM_FROM = 8
"""With fewer blocks nothing is trimmed: of 5, three are left when one goes from each end."""
COARSE = 1e-12
"""Log ratios within this of each other are equal but for rounding."""

LOOKS = (3, 5, 8)
"""Numbers of pairs after which an A/B may stop."""
LOOK_SHARE = (0.2, 0.3, 0.5)
"""The share of the one-sided error that each look may spend."""
STEP_ALPHA = 0.01
"""One-sided error of the claim that training steps got faster, all looks together."""
LEAST_PAIR_SPREAD = (0.012, 0.005, 0.0025)
"""The least standard deviation of the log step-time ratio that each look believes.

Three pairs can agree by luck: where each run finds the processor in one of two clock states, all
three differ by the same amount once in 64 times. With these floors the least gain that can be
claimed is 15% after 3 pairs, 1.4% after 5 and 0.34% after 8, in a first A/B.
"""


class Bounds(NamedTuple):
    """A mean and the ends of its two one-sided intervals, each missed with probability alpha."""

    mean: float
    low: float
    high: float


class Look(NamedTuple):
    """What an A/B knows after a look. `speedup`, `low`, `high` are ratios; above 1 is faster."""

    decision: Literal["faster", "slower", "undecided"]
    pairs: int
    alpha: float
    speedup: float
    low: float
    high: float


def log_ratios(incumbent: Sequence[float], candidate: Sequence[float]) -> np.ndarray:
    """log(incumbent / candidate) of each block, [blocks]; above 0 the candidate was faster.

    Raises `ValueError` unless both have the same length and only finite, positive times.
    """
    import numpy as np

    arms = {"incumbent": incumbent, "candidate": candidate}
    logs = {}
    for name, times in arms.items():
        array = np.asarray(times, dtype=np.float64)
        if array.ndim != 1:
            raise ValueError(f"{name}: expected a flat sequence of times, got {array.ndim} axes")
        bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
        if bad.size:
            first = int(bad[0])
            raise ValueError(
                f"{name}: time {array[first]} of block {first} is no finite time above 0"
            )
        logs[name] = np.log(array)
    if len(incumbent) != len(candidate):
        raise ValueError(
            f"{len(incumbent)} incumbent blocks and {len(candidate)} candidate blocks are no pairs"
        )
    return logs["incumbent"] - logs["candidate"]


def ratio_interval(
    incumbent: Sequence[float], candidate: Sequence[float], confidence: float = 0.95
) -> Interval:
    """The speed-up incumbent / candidate with its two-sided interval, paired by index."""
    ratios = log_ratios(incumbent, candidate)
    centre, error, freedom = _trimmed_logs(ratios)
    return _ratio(centre, error, freedom, len(ratios), confidence)


def geomean_interval(
    cases: Sequence[tuple[Sequence[float], Sequence[float]]], confidence: float = 0.95
) -> Interval:
    """The geometric mean over cases of the speed-up, every case with equal weight.

    Each case is (incumbent times, candidate times). Degrees of freedom by Welch and Satterthwaite;
    `samples` is the number of blocks of the case with the fewest.
    """
    if not cases:
        raise ValueError("no cases: a geometric mean needs at least one")
    found = []
    for number, (incumbent, candidate) in enumerate(cases):
        try:
            found.append(_trimmed_logs(log_ratios(incumbent, candidate)))
        except ValueError as error:
            raise ValueError(f"case {number}: {error}") from None
    count = len(found)
    centre = sum(case_centre for case_centre, _, _ in found) / count
    variances = [(error / count) ** 2 for _, error, _ in found]
    variance = sum(variances)
    freedom = variance**2 / sum(
        v**2 / case_freedom for v, (_, _, case_freedom) in zip(variances, found, strict=True)
    )
    blocks = min(len(incumbent) for incumbent, _ in cases)
    return _ratio(centre, variance**0.5, freedom, blocks, confidence)


def difference_interval(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of paired differences with its two-sided t interval, nothing trimmed.

    Differences that are all exactly zero (two arms that agree bit for bit) give [0, 0]; any other
    set without spread raises `ValueError`.
    """
    _check_confidence(confidence)
    bounds = mean_bounds(differences, (1 - confidence) / 2)
    return Interval(
        point=bounds.mean,
        low=bounds.low,
        high=bounds.high,
        samples=len(differences),
        confidence=confidence,
    )


def typical_bounds(values: Sequence[float], alpha: float) -> Bounds:
    """The trimmed mean of `values` and its one-sided bounds, each missed with probability `alpha`.

    The bounds of `ratio_interval`, for values that are no times.
    """
    import numpy as np

    centre, error, freedom = _trimmed(np.asarray(values))
    half = _critical(freedom, alpha) * error
    return Bounds(centre, centre - half, centre + half)


def mean_bounds(values: Sequence[float], alpha: float, least_spread: float = 0.0) -> Bounds:
    """Mean of `values` and its one-sided t bounds, each missed with probability `alpha`.

    A standard deviation below `least_spread` counts as `least_spread`.
    """
    import numpy as np

    array = _finite(values)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    spread = float(np.std(array, ddof=1))
    if least_spread == 0 and np.ptp(array) == 0 and array[0] != 0:
        raise ValueError(
            f"all {array.size} values are exactly {array[0]}: independent measurements have spread"
        )
    mean = float(np.mean(array))
    half = _critical(array.size - 1, alpha) * max(spread, least_spread) / array.size**0.5
    return Bounds(mean, mean - half, mean + half)


def look_number(pairs: int) -> int | None:
    """Index into `LOOKS` of the last look that `pairs` pairs complete; None before the first."""
    complete = [number for number, needed in enumerate(LOOKS) if needed <= pairs]
    return complete[-1] if complete else None


def spend(total: float, number: int, attempt: int = 1) -> float:
    """The one-sided error that look `number` (0, 1, 2) of A/B `attempt` may spend of `total`."""
    if not 0 <= number < len(LOOKS):
        raise ValueError(f"look {number} is unknown: looks are 0 to {len(LOOKS) - 1}")
    return total * LOOK_SHARE[number] * attempt_share(attempt)


def attempt_share(attempt: int) -> float:
    """The share of the error that attempt `attempt` on one target may spend: 6 / (pi attempt)^2.

    The shares of any number of attempts add up to less than 1 (Euler, 1734): the first has 0.61 of
    the error, the second 0.15, the tenth 0.006. Halving would leave the tenth 0.001.
    """
    if attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt}")
    return 6 / (math.pi * attempt) ** 2


def look(
    log_speedups: Sequence[float], number: int, attempt: int = 1, alpha: float = STEP_ALPHA
) -> Look:
    """One look of an A/B: `LOOKS[number]` values of log(incumbent step / candidate step).

    `faster` or `slower` once the one-sided bound at this look's share of `alpha` excludes 1.
    """
    spent = spend(alpha, number, attempt)
    if len(log_speedups) != LOOKS[number]:
        raise ValueError(f"look {number} takes {LOOKS[number]} pairs, not {len(log_speedups)}")
    mean, low, high = mean_bounds(log_speedups, spent, LEAST_PAIR_SPREAD[number])
    decision: Literal["faster", "slower", "undecided"] = "undecided"
    if low > 0:
        decision = "faster"
    elif high < 0:
        decision = "slower"
    return Look(decision, LOOKS[number], spent, math.exp(mean), math.exp(low), math.exp(high))


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """`values` as float64 [n]; `ValueError` for fewer than two or for one that is not finite."""
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(f"{array.size} samples: an interval needs at least two")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(f"sample {int(bad[0])} is {array[bad[0]]}, not a finite number")
    return array


def _trimmed_logs(ratios: np.ndarray) -> tuple[float, float, float]:
    """`_trimmed` of log ratios; `ValueError` where the middle ones are all equal."""
    centre, error, freedom = _trimmed(ratios)
    if error <= COARSE:
        raise ValueError(
            f"the middle {freedom + 1:.0f} of {len(ratios)} ratios are equal: the clock is too "
            "coarse for these blocks; time more calls per block"
        )
    return centre, error, freedom


def _trimmed(values: np.ndarray) -> tuple[float, float, float]:
    """Trimmed mean, its standard error and its degrees of freedom (Yuen 1974)."""
    import numpy as np

    ordered = np.sort(_finite(values))
    count = ordered.size
    cut = int(TRIM * count) if count >= TRIM_FROM else 0
    kept = count - 2 * cut
    centre = float(ordered[cut : count - cut].mean())
    winsorised = np.clip(ordered, ordered[cut], ordered[count - cut - 1])
    error = float(np.std(winsorised, ddof=1)) * ((count - 1) / (kept * (kept - 1))) ** 0.5
    return centre, error, float(kept - 1)


def _ratio(
    centre: float, error: float, freedom: float, samples: int, confidence: float
) -> Interval:
    """The interval of a ratio from the centre and standard error of its logarithm."""
    _check_confidence(confidence)
    half = _critical(freedom, (1 - confidence) / 2) * error
    return Interval(
        point=math.exp(centre),
        low=math.exp(centre - half),
        high=math.exp(centre + half),
        samples=samples,
        confidence=confidence,
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")


@lru_cache(maxsize=4096)
def _critical(freedom: float, alpha: float) -> float:
    """The t value that is exceeded with probability `alpha`."""
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, alpha))
