"""Inputs that change while a block of calls is under way: who has read them too early is found out.

    changes = plan(layout, target, 50, random)             # what to change, and when
    with Changes(changes, memory, given, fresh) as made:
        ...                                                # the worker makes its calls
    made.clear                                             # calls that must have seen the change

All that a block is given lies in the worker's memory when its clock starts, the gradients that come
in as well. In training there is one call's input at a time, and its incoming gradient only once its
forward pass is over. A candidate that reaches for the rest computes calls together, or backward in
the forward pass, and gains what training cannot have. So the judge changes what a call is given, in
a few blocks that are not timed: one of its inputs while one of the three calls before is running,
or an incoming gradient while its own forward pass is. An answer to what was there before is wrong.

Where the worker is, it counts in the shared memory. A change counts if the worker was not there yet
when it had been made. Only floats are changed, as a call that came too soon may see half of each.
Half of the changes are a stretch of a kilobyte or less, which whoever compares some elements with
what it has kept does not find.

Only where inputs lie in memory that judge and worker share: on a device, and in MLX, they are
copied before the calls. Whoever forges the count is not found either.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

from lab.harness import variations
from lab.harness.inputs import ITEMSIZE

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator

    from kernels.spec import Target
    from lab.harness.inputs import Layout
    from lab.harness.protocol import Span
    from lab.harness.slot_memory import SlotMemory

ENOUGH, MOST_BLOCKS = 16, 4
"""Blocks follow each other, so many at most, until so many changes came in time (or two for each
call of a block): where all cores are taken, none may."""
STRETCH_BYTES = 1024
AHEAD = 3
"""An input is changed while one of so many calls before is running."""
PAUSE_S = 10e-6
"""Between two looks at the count. A thread that looked all the time would be taken off its core for
milliseconds, in favour of the worker's; one that wakes up is let in at once."""
TOO_EARLY = (
    "an input of this call had changed while a call before was running, or its incoming gradient "
    "while its forward pass was: nothing may be read before its pass"
)


@dataclass(frozen=True)
class Change:
    """Bytes `start` to `stop` of what a slot is given, to be changed once the worker has begun
    `first` passes, and before it has begun more than `last`.

    In the forward pass of call i, 2 i + 1 have begun, in its backward pass one more.
    """

    slot: int
    first: int
    last: int
    start: int
    stop: int
    delay: float = 0.0
    """How long to wait in the pass, as a share of what a forward pass takes."""


def plan(layout: Layout, target: Target, slots: int, random: Generator) -> list[Change]:
    """One change for each slot that can have one."""
    drawn = variations.floats_drawn_by_element(layout, target)
    found = []
    for slot in range(slots):
        backward = bool(layout.incoming) and (not (slot and drawn) or random.random() < 0.5)
        if backward:
            part = _part(layout.incoming, random)
            found.append(Change(slot, 2 * slot + 1, 2 * slot + 1, *part, delay=random.random()))
        elif slot and drawn:
            first = max(1, 2 * slot - int(random.integers(2 * AHEAD)))
            found.append(Change(slot, first, 2 * slot, *_part(drawn, random)))
    return found


def _part(spans: Sequence[Span], random: Generator) -> tuple[int, int]:
    """One of the spans, or a stretch of it, in bytes."""
    span = spans[int(random.integers(len(spans)))]
    extent = 1 + sum((n - 1) * s for n, s in zip(span.shape, span.strides, strict=True))
    start, stop = span.offset, span.offset + extent * ITEMSIZE[span.dtype]
    if random.random() < 0.5:
        start += int(random.integers(extent)) * ITEMSIZE[span.dtype]
        stop = min(stop, start + STRETCH_BYTES)
    return start, stop


class Changes:
    """The changes of one block, made by a thread of the judge's.

    `given` and `fresh` are uint8 [slots, given_bytes]: what was written, and where new values come
    from. `given` follows what is changed.
    """

    def __init__(
        self,
        changes: Iterable[Change],
        memory: SlotMemory,
        given: torch.Tensor,
        fresh: torch.Tensor,
    ) -> None:
        self._waiting = {change.slot: change for change in changes}
        self._memory = memory
        self._given, self._fresh = given.numpy(), fresh.numpy()
        self._over = Event()
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._working: Future[None]
        self.clear: set[int] = set()
        """Calls whose change was made in time."""

    def __enter__(self) -> Changes:
        self._memory.reset_begun()
        self._working = self._pool.submit(self._work)
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._pool.shutdown()
        self._working.result()

    def _work(self) -> None:
        last, since, forward_s = 0, time.perf_counter(), 0.0
        while not self._over.wait(PAUSE_S):
            begun, now = self._memory.begun(), time.perf_counter()
            if begun != last:
                if begun == last + 1 and last % 2:
                    forward_s = now - since
                last, since = begun, now
            change = self._due(begun)
            if change is not None and now - since >= change.delay * forward_s:
                self._make(change)

    def _due(self, begun: int) -> Change | None:
        call = (begun - 1) // 2
        for slot in range(call, call + AHEAD + 1):
            change = self._waiting.get(slot)
            if change is not None and change.first <= begun <= change.last:
                return change
        return None

    def _make(self, change: Change) -> None:
        slot, part = change.slot, slice(change.start, change.stop)
        del self._waiting[slot]
        self._memory.change(self._fresh[slot, part].data, slot, change.start)
        self._given[slot, part] = self._fresh[slot, part]
        if self._memory.begun() <= change.last:
            self.clear.add(slot)
