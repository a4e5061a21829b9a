"""From shares of a step to what to attack first.

For each op: its time in an ordinary step, its least traffic and arithmetic, the time those need at
this machine's roofline, and by Amdahl's law how much faster the whole step could get: if the op
vanished (`ceiling_removed`) and if it ran at the roofline (`ceiling_roofline`). Rows are in the
order of the latter. Pure: no clock, no files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from lab.profiling.attribution import Share
from lab.profiling.costs import Work
from lab.profiling.segments import UNATTRIBUTED
from lab.records import HotOp
from lab.roofline import Roofline

Pairs = tuple[tuple[float, float], ...]
"""Milliseconds of steps with an op and without it."""
NO_PAIRS: Mapping[str, Pairs] = MappingProxyType({})

LARGEST_SHARE = 1 - 1e-6
"""A step that is nothing but one op has no finite ceiling; this one is a million."""


def ceiling(share: float, part_left: float) -> float:
    """Amdahl: how much faster the whole gets when `part_left` of one op's `share` is left of it."""
    return 1 / (1 - min(share, LARGEST_SHARE) * (1 - part_left))


def roofline_ms(work: Iterable[Work], roofline: Roofline, dtype: str) -> float:
    """The least time of an op in one step; each pass of each call has a floor of its own."""
    return sum(
        times
        * (
            roofline.floor_ms(cost.bytes_forward, cost.flops_forward, dtype)
            + roofline.floor_ms(cost.bytes_backward, cost.flops_backward, dtype)
        )
        for cost, times in work
    )


def rank(
    shares: Iterable[Share],
    work: Mapping[str, tuple[Work, ...]],
    roofline: Roofline,
    dtype: str,
    *,
    step_ms: float,
    targets: Collection[str],
    ablation_ms: Mapping[str, Pairs] = NO_PAIRS,
) -> tuple[HotOp, ...]:
    """Every op of a step of `step_ms`, by what bringing it to the roofline gains; the rest last.

    Of an op whose work is not known, `unattributed` above all, no gain is promised: its roofline is
    the time that it takes.
    """
    rows = [
        replace(
            _row(s, work.get(s.op), roofline, dtype, step_ms, s.op in targets),
            ablation_ms=ablation_ms.get(s.op, ()),
        )
        for s in shares
    ]
    return tuple(sorted(rows, key=lambda r: (r.op == UNATTRIBUTED, -r.ceiling_roofline, r.op)))


def _row(
    share: Share,
    work: tuple[Work, ...] | None,
    roofline: Roofline,
    dtype: str,
    step_ms: float,
    target: bool,
) -> HotOp:
    time_ms = share.total * step_ms
    floor_ms = time_ms if work is None else min(time_ms, roofline_ms(work, roofline, dtype))
    return HotOp(
        op=share.op,
        target=target,
        share=share.total,
        calls=share.calls,
        time_ms=time_ms,
        forward_ms=share.forward * step_ms,
        backward_ms=share.backward * step_ms,
        bytes_moved=round(sum(cost.bytes_moved * times for cost, times in work or ())),
        flops=round(sum(cost.flops * times for cost, times in work or ())),
        roofline_ms=floor_ms,
        ceiling_removed=ceiling(share.total, 0.0),
        ceiling_roofline=ceiling(share.total, floor_ms / time_ms if time_ms > 0 else 1.0),
    )
