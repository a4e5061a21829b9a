"""How much of a step goes when an op costs nothing, from the raw pairs of a profile.

Each pair is a step with the op and one without it (`trainer.ablation`). The share that is gone is a
difference of two noisy numbers, so it is never shown without its interval. Measures nothing.
"""

from __future__ import annotations

from lab.outcomes import Interval
from lab.records import HotOp

FEWEST = 2
"""Pairs that an interval takes."""


def gone(op: HotOp) -> Interval | None:
    """The mean share over the pairs with its 95% interval; None where too little was measured."""
    from lab.stats import difference_interval

    if len(op.ablation_ms) < FEWEST:
        return None
    return difference_interval([1 - without / with_it for with_it, without in op.ablation_ms])


def text(op: HotOp) -> str:
    """`25.4% ±3.1`, half the interval's width behind; empty where there is none."""
    found = gone(op)
    return f"{found.point:.1%} ±{50 * (found.high - found.low):.1f}" if found else ""
