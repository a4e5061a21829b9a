"""The step-time ratio of a pair of training runs, from the turns that they took.

A look decides on `log_speedups`: one number per pair, since a pair is what is drawn anew. Turn i of
both arms is the same steps on the same batches, close together in time, so its ratio is free of
what the machine did over the rest of the pair. Over the turns of a pair the ratios are averaged
with a fifth trimmed from each end: a turn that another program fell into says nothing of the op.

What is trimmed could also be the candidate's own doing, work put off and done in every tenth turn.
So `whole_log_speedups` trims nothing, and the gate lets a gain count only where both say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lab.outcomes import Arm, Interval, Pair
from lab.stats import TRIM, TRIM_FROM, log_ratios, ratio_interval


def speedup(pair: Pair) -> float:
    """incumbent / candidate of the typical turn. Raises `ValueError` for turns that do not match or
    are no times."""
    incumbent, candidate = _turns(pair.incumbent), _turns(pair.candidate)
    ratios = sorted(log_ratios(incumbent, candidate).tolist())
    if len(ratios) < TRIM_FROM:  # the first turn is one step: among few it would weigh too much
        return sum(incumbent) / sum(candidate)
    cut = int(TRIM * len(ratios))
    kept = ratios[cut : len(ratios) - cut]
    return math.exp(sum(kept) / len(kept))


def log_speedups(pairs: Sequence[Pair]) -> list[float]:
    """The logarithm of each pair's speed-up; above 0 the candidate is faster. `ValueError`."""
    return [math.log(speedup(pair)) for pair in pairs]


def whole_log_speedups(pairs: Sequence[Pair]) -> list[float]:
    """The same of all turns together, nothing trimmed. Raises `ValueError`."""
    totals = [[sum(_turns(arm)) for arm in (p.incumbent, p.candidate)] for p in pairs]
    return log_ratios([a for a, _ in totals], [b for _, b in totals]).tolist()


def speedup_interval(pairs: Sequence[Pair], confidence: float = 0.95) -> Interval:
    """The speed-up over all pairs with its two-sided interval. Raises `ValueError`."""
    return ratio_interval([speedup(pair) for pair in pairs], [1.0] * len(pairs), confidence)


def _turns(arm: Arm) -> tuple[float, ...]:
    return arm.turn_ms or (arm.step_ms * arm.steps,)
