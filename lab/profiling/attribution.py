"""Whose time is it? Divides every traced step among the trainer's named ops.

Host time belongs to the innermost `op:` scope around it. The backward pass runs outside of scopes:
each of its nodes belongs to the op whose scope held the forward operator that made it, found by
autograd's sequence number. On a GPU, a kernel belongs to whoever launched it, and its time counts
before the host's: only while the device idles does the step wait for what the host is doing.

So every instant of a step is counted once, and the rows add up to the step. What belongs to no op
stays `unattributed`, and `Attribution.leftovers` says what it consists of. Times here are those of
traced steps, which the profiler slows down: use them as shares.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from lab.errors import MachineError
from lab.profiling.segments import NOBODY, UNATTRIBUTED, Owner, Segment, claim, flatten, owner_at
from lab.profiling.trace import EVALUATE, SCOPE_PREFIX, Event, Thread, Trace, op_name

ACCUMULATION = "gradient_accumulation"
"""Adding gradients to the parameters' `.grad`, after the first micro-batch."""
ENGINE = "autograd_engine"
"""Between two nodes of a backward pass: choosing the next, freeing what the last one used."""


@dataclass
class OpTime:
    """What one op took of one step, in milliseconds of traced time."""

    forward_ms: float = 0.0
    backward_ms: float = 0.0
    calls: int = 0

    @property
    def total_ms(self) -> float:
        """Forward and backward together."""
        return self.forward_ms + self.backward_ms

    def add(self, segment: Segment) -> None:
        """Counts one more stretch of time."""
        milliseconds = (segment.end - segment.start) / 1e3
        if segment.owner.backward:
            self.backward_ms += milliseconds
        else:
            self.forward_ms += milliseconds


@dataclass(frozen=True)
class TracedStep:
    """One traced step; the ops, `unattributed` among them, add up to `wall_ms`."""

    wall_ms: float
    ops: Mapping[str, OpTime]


class Share(NamedTuple):
    """An op's part of the typical step, from 0 to 1; `low` and `high` are the steps' extremes."""

    op: str
    forward: float
    backward: float
    low: float
    high: float
    calls: int

    @property
    def total(self) -> float:
        """Forward and backward together."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Attribution:
    """Every traced step, divided."""

    steps: tuple[TracedStep, ...]
    leftovers: Mapping[str, float]
    """Operators outside of every scope: milliseconds per step by their name in the trace."""

    @property
    def shares(self) -> tuple[Share, ...]:
        """Every op of the typical step, largest first, `unattributed` last; they add up to 1.

        The typical step has each op's median time: what disturbs one op in one step then touches
        no other row, as it would if shares were taken step by step.
        """
        ops = sorted({op for step in self.steps for op in step.ops})
        times = {op: [step.ops.get(op, OpTime()) for step in self.steps] for op in ops}
        forward_ms = {op: median(t.forward_ms for t in times[op]) for op in ops}
        backward_ms = {op: median(t.backward_ms for t in times[op]) for op in ops}
        whole_ms = sum(forward_ms.values()) + sum(backward_ms.values())
        shares = [
            Share(
                op,
                forward=forward_ms[op] / whole_ms,
                backward=backward_ms[op] / whole_ms,
                low=min(t.total_ms for t in times[op]) / whole_ms,
                high=max(t.total_ms for t in times[op]) / whole_ms,
                calls=round(median(t.calls for t in times[op])),
            )
            for op in ops
        ]
        return tuple(sorted(shares, key=lambda s: (s.op == UNATTRIBUTED, -s.total, s.op)))

    @property
    def covered(self) -> float:
        """The part of the typical step that has a name, from 0 to 1."""
        return 1 - next(s.total for s in self.shares if s.op == UNATTRIBUTED)


def attribute(trace: Trace) -> Attribution:
    """Divides the steps of `trace`. Raises `MachineError` where it has none."""
    if not trace.steps:
        raise MachineError(
            "the trace has no span named 'step'",
            "Trace with: train.py --trace FILE --trace-steps N",
        )
    main = trace.steps[0].thread
    host = _host_segments(trace, main)
    hosts = [host[thread] for thread in sorted(host, key=lambda t: (t != main, str(t)))]
    named = [[s for s in segments if s.owner.op != UNATTRIBUTED] for segments in hosts]
    layers = [_device_segments(trace, host), *named]
    calls = [_calls(trace, step) for step in trace.steps]
    steps = tuple(_divide(step, layers, c) for step, c in zip(trace.steps, calls, strict=True))
    return Attribution(steps, _leftovers(trace, host))


def _host_segments(trace: Trace, main: Thread) -> dict[Thread, list[Segment]]:
    """What every thread was doing, by owner; stretches without any event are left out."""
    makers = _makers(trace, main)

    def owner(event: Event, parent: Owner | None) -> Owner:
        backward = parent is not None and parent.backward
        if event.name.startswith(SCOPE_PREFIX):
            return Owner(op_name(event), backward)
        if parent is not None and parent.op != UNATTRIBUTED:
            return parent
        if not event.is_node:
            return Owner(UNATTRIBUTED, backward)
        if event.accumulates:
            return Owner(ACCUMULATION, True)
        return Owner(makers.get(event.sequence, UNATTRIBUTED), True)

    events: dict[Thread, list[Event]] = defaultdict(list)
    for event in heapq.merge(trace.scopes, trace.operators, key=lambda e: (e.ts, -e.dur)):
        events[event.thread].append(event)
    host = {thread: flatten(spans, owner) for thread, spans in events.items()}
    busy = host.get(main, [])
    return {thread: _with_engine(segments, busy) for thread, segments in host.items()}


def _makers(trace: Trace, main: Thread) -> dict[int | None, str]:
    """The op that made each node of the graph, by the node's sequence number.

    An operator carries the number that the next node will get, whether or not it makes one, so the
    last operator with a number is the node's maker. Only the trainer's own thread counts: numbers
    start anew on every thread.
    """
    scopes = [scope for scope in trace.scopes if scope.thread == main]
    inside = flatten(scopes, lambda scope, _: Owner(op_name(scope), False))
    makers: dict[int | None, str] = {}
    for event in trace.operators:
        if event.thread == main and event.sequence is not None and not event.is_node:
            makers[event.sequence] = owner_at(inside, event.ts).op
    return makers


def _with_engine(segments: list[Segment], main: list[Segment]) -> list[Segment]:
    """Adds the autograd engine's own time: the gaps between nodes in which nothing else ran."""
    result = segments[:1]
    for before, after in pairwise(segments):
        if before.owner.backward and after.owner.backward and before.end < after.start:
            index = bisect_right(main, before.end, key=lambda s: s.end)
            if index == len(main) or main[index].start >= after.start:
                result.append(Segment(before.end, after.start, Owner(ENGINE, True)))
        result.append(after)
    return result


def _device_segments(trace: Trace, host: Mapping[Thread, list[Segment]]) -> list[Segment]:
    """What the device was doing. Where two pieces of work overlap, the earlier one counts."""
    segments = []
    cursor = 0.0
    for event in trace.device:
        if event.end <= cursor:
            continue
        launch = trace.launches.get(event.correlation) if event.correlation is not None else None
        owner = owner_at(host.get(launch.thread, []), launch.ts) if launch else NOBODY
        segments.append(Segment(max(event.ts, cursor), event.end, owner))
        cursor = event.end
    return segments


def _divide(
    step: Event, layers: Sequence[Sequence[Segment]], calls: Mapping[str, int]
) -> TracedStep:
    """The step's time by op. An earlier layer takes what it has before a later one."""
    ops = {op: OpTime(calls=count) for op, count in calls.items()}
    free = [(step.ts, step.end)]
    for layer in layers:
        taken, free = claim(free, layer)
        for segment in taken:
            ops.setdefault(segment.owner.op, OpTime()).add(segment)
    named_ms = sum(time.total_ms for op, time in ops.items() if op != UNATTRIBUTED)
    wall_ms = step.dur / 1e3
    ops[UNATTRIBUTED] = OpTime(forward_ms=max(0.0, wall_ms - named_ms))
    return TracedStep(wall_ms, ops)


def _calls(trace: Trace, step: Event) -> Mapping[str, int]:
    """How often each op was called in the step: its scopes, or its nodes."""
    calls = Counter(op_name(scope) for scope in _during(step, trace.scopes))
    calls[ACCUMULATION] += sum(
        event.accumulates and not event.name.startswith(EVALUATE)
        for event in _during(step, trace.operators)
    )
    return +calls  # without what was never called


def _leftovers(trace: Trace, host: Mapping[Thread, list[Segment]]) -> dict[str, float]:
    """Outermost operators that belong to nobody, by name, in milliseconds per step."""
    found: defaultdict[str, float] = defaultdict(float)
    ends: defaultdict[Thread, float] = defaultdict(float)
    for step in trace.steps:
        for event in _during(step, trace.operators):
            if event.ts < ends[event.thread]:
                continue
            if owner_at(host[event.thread], event.ts).op == UNATTRIBUTED:
                ends[event.thread] = event.end
                found[event.name.removeprefix(EVALUATE)] += event.dur / 1e3 / len(trace.steps)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _during(step: Event, events: Sequence[Event]) -> Sequence[Event]:
    """Those that start within the step; `events` are in order of time."""
    start = bisect_left(events, step.ts, key=lambda event: event.ts)
    return events[start : bisect_left(events, step.end, key=lambda event: event.ts)]
