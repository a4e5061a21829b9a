"""Nested and overlapping spans as rows of segments, in which every instant has one owner.

Plain interval arithmetic on microseconds, linear in the number of spans (after sorting) and free of
any knowledge about traces; attribution.py puts it to use.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from lab.profiling.trace import Event

UNATTRIBUTED = "unattributed"
"""The op that stands for no op."""


Span = tuple[float, float]
"""Start and end, microseconds."""


class Owner(NamedTuple):
    """Whom a stretch of time belongs to."""

    op: str
    backward: bool


NOBODY = Owner(UNATTRIBUTED, False)


class Segment(NamedTuple):
    """A stretch of time with one owner. Microseconds."""

    start: float
    end: float
    owner: Owner


def flatten(
    events: Iterable[Event], owner: Callable[[Event, Owner | None], Owner]
) -> list[Segment]:
    """Nested spans of one thread as a row of segments, each owned by the innermost span there.

    `owner` is asked once per span, with the owner of the span around it.
    """
    segments: list[Segment] = []
    stack: list[tuple[float, Owner]] = []
    cursor = 0.0

    def advance(until: float) -> None:
        nonlocal cursor
        if stack and until > cursor:
            last = segments[-1] if segments else None
            if last and last.owner == stack[-1][1] and last.end == cursor:
                segments[-1] = last._replace(end=until)
            else:
                segments.append(Segment(cursor, until, stack[-1][1]))
        cursor = max(cursor, until)

    for event in events:
        while stack and stack[-1][0] <= event.ts:
            advance(stack[-1][0])
            stack.pop()
        advance(event.ts)
        end, parent = stack[-1] if stack else (event.end, None)
        stack.append((min(end, event.end), owner(event, parent)))
    while stack:
        advance(stack[-1][0])
        stack.pop()
    return segments


def owner_at(segments: Sequence[Segment], ts: float) -> Owner:
    """Who owns the instant `ts`."""
    index = bisect_right(segments, ts, key=lambda s: s.start) - 1
    return segments[index].owner if index >= 0 and ts < segments[index].end else NOBODY


def claim(free: Sequence[Span], segments: Sequence[Segment]) -> tuple[list[Segment], list[Span]]:
    """What `segments` have of the `free` spans, and what stays free."""
    taken, left = [], []
    for start, end in free:
        index = bisect_right(segments, start, key=lambda s: s.end)
        while index < len(segments) and segments[index].start < end:
            segment = segments[index]
            begin, stop = max(start, segment.start), min(end, segment.end)
            if begin > start:
                left.append((start, begin))
            taken.append(Segment(begin, stop, segment.owner))
            start = stop
            index += 1
        if start < end:
            left.append((start, end))
    return taken, left
