"""Inputs that change while a block of calls is under way: who has read them too early is found out.

    with Changes(memory, layout, given, fresh, random) as changes:
        ...                                   # the worker makes its calls
    changes.unclear                           # calls that cannot be judged, all others can

All that a block is given lies in the worker's memory when its clock starts, the gradients that come
in as well. In training there is one call's input at a time, and its incoming gradient only once its
forward pass is over. A candidate that reaches for the rest computes calls together, or backward in
the forward pass, and gains what training cannot have. So the judge changes what a call is given, in
a few blocks that are not timed: its inputs while the call before is running, or its incoming
gradients while its own forward pass is. An answer to what was there before is wrong.

Where the worker is, it counts in the shared memory. A change counts if the worker was not there yet
when it had been made; else the call is `unclear`. Half of the changes are a stretch of a kilobyte
or less, which whoever compares some elements with what it has kept does not find.

Only where inputs lie in memory that judge and worker share: on a device, and in MLX, they are
copied before the calls. Whoever forges the count is not found either.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator

    from lab.harness.inputs import Layout
    from lab.harness.slot_memory import SlotMemory

ENOUGH, MOST_BLOCKS = 16, 4
"""So many blocks at most, until so many changes came in time: where all cores are taken, none
may."""
MOST_CHANGES = 64
"""Of a block, each in another call."""
STRETCH_BYTES = 1024
NEXT = 3
"""The next call's inputs are changed, or those of one or two calls later."""
PAUSE_S = 10e-6
"""Between two looks at the count. A thread that looked all the time would be taken off its core for
milliseconds, in favour of the worker's; one that wakes up is let in at once."""
TOO_EARLY = (
    "what it was given had changed while a call before was running, or its incoming gradient while "
    "its forward pass was: nothing may be read before its pass"
)


@dataclass(frozen=True)
class Change:
    """Bytes `start` to `stop` of what a slot is given, to be changed before the worker has begun
    more passes than are `allowed`."""

    slot: int
    allowed: int
    start: int
    stop: int


def change_at(begun: int, layout: Layout, random: Generator) -> Change:
    """What to change where so many passes have begun: 2 i + 1 in the forward pass of call i, and
    2 i + 2 in its backward pass."""
    call, forward = (begun - 1) // 2, begun % 2 == 1
    backward = forward and bool(layout.incoming) and random.random() < 2 / 3
    slot = call if backward else call + 1 + int(random.integers(NEXT))
    spans = layout.incoming if backward else layout.arguments
    start, stop = spans[0].offset, layout.given_bytes
    if random.random() < 0.5:
        start = int(random.integers(spans[random.integers(len(spans))].offset, stop))
        stop = min(stop, start + STRETCH_BYTES)
    return Change(slot, 2 * slot + 1 if backward else 2 * slot, start, stop)


class Changes:
    """The changes of one block, made by a thread of the judge's.

    `given` and `fresh` are uint8 [slots, given_bytes]: what was written, and where new values come
    from. `given` follows what is changed.
    """

    def __init__(
        self,
        memory: SlotMemory,
        layout: Layout,
        given: torch.Tensor,
        fresh: torch.Tensor,
        random: Generator,
    ) -> None:
        self._memory = memory
        self._given, self._fresh = given.numpy(), fresh.numpy()
        self._layout, self._random = layout, random
        self._over = Event()
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._working: Future[None]
        self.clear: set[int] = set()
        """Calls whose change was made in time."""
        self.unclear: set[int] = set()
        """Calls that may have seen what was there before, or half of each."""

    def __enter__(self) -> Changes:
        self._memory.reset_begun()
        self._working = self._pool.submit(self._work)
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._pool.shutdown()
        self._working.result()

    def _work(self) -> None:
        slots = len(self._given)
        while len(self.clear) < MOST_CHANGES and not self._over.wait(PAUSE_S):
            begun = self._memory.begun()
            if begun == 0:
                continue
            change = change_at(begun, self._layout, self._random)
            if change.slot < slots and change.slot not in self.clear | self.unclear:
                self._make(change)

    def _make(self, change: Change) -> None:
        slot, part = change.slot, slice(change.start, change.stop)
        self._memory.change(self._fresh[slot, part].data, slot, change.start)
        self._given[slot, part] = self._fresh[slot, part]
        in_time = self._memory.begun() <= change.allowed
        (self.clear if in_time else self.unclear).add(slot)
