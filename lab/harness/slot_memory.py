"""The memory that judge and worker share, as the judge holds it: one slot per call.

    memory = SlotMemory(arena_bytes)
    memory.arrange(layout, 2)
    memory.write(given)
    memory.poison()
    results = memory.read_results(2)

Laid out as protocol.Arrange says: what is given in each slot first, all results behind that. Its
last bytes are the worker's count of the passes that it has begun, as protocol.Run says. It is
read and written with pread and pwrite only and never mapped here, so that nothing a worker does to
it can crash the judge. Never looks at what the bytes mean.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

from lab.harness.faults import Fault
from lab.harness.protocol import COUNT_BYTES

if TYPE_CHECKING:
    import torch

    from lab.harness.inputs import Layout

LONGEST_READ = 2**20
LONGEST_POISON = 2**18
"""Small enough to stay in a cache while it is written again and again."""


class SlotMemory:
    """So many bytes for slots, which a worker can map by `descriptor`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.mapped_bytes = -(-size // COUNT_BYTES) * COUNT_BYTES + COUNT_BYTES
        """What a worker maps: the slots, then the count."""
        self.descriptor = _shared(self.mapped_bytes)
        self._slots = self._results = self._end = 0
        # Held while the descriptor is in use: closed then, its number could be another file's.
        self._in_use = threading.RLock()

    def arrange(self, layout: Layout, slots: int) -> None:
        """Divides it into so many slots."""
        if slots * layout.slot_bytes > self.size:
            raise ValueError(f"{slots} slots of {layout.slot_bytes} bytes do not fit")
        self._slots = slots
        self._results = slots * layout.given_bytes
        self._end = slots * layout.slot_bytes

    def write(self, given: torch.Tensor, first: int = 0) -> None:
        """Fills slots from the first one named on, uint8 [slots, given_bytes] or one slot's."""
        data, offset = given.view(-1).numpy().data, first * (self._results // self._slots)
        with self._in_use:
            _write(self.descriptor, data, offset)

    def change(self, data: memoryview, slot: int, start: int) -> None:
        """Writes a part of what a slot was given, from so many bytes on."""
        with self._in_use:
            _write(self.descriptor, data, slot * (self._results // self._slots) + start)

    def begun(self) -> int:
        """The passes of the last run that the worker says it has begun; any number from 0 on."""
        with self._in_use:
            count = os.pread(self.descriptor, COUNT_BYTES, self.mapped_bytes - COUNT_BYTES)
        return int.from_bytes(count, sys.byteorder)

    def reset_begun(self) -> None:
        """Sets the count to 0, before a run."""
        with self._in_use:
            _write(self.descriptor, memoryview(bytes(COUNT_BYTES)), self.mapped_bytes - COUNT_BYTES)

    def poison(self, given_too: bool = False) -> None:
        """Fills all results with NaN; what was given as well, if asked."""
        from lab.harness.inputs import POISON

        poison = bytes([POISON]) * LONGEST_POISON
        with self._in_use:
            for offset in range(0 if given_too else self._results, self._end, LONGEST_POISON):
                _write(self.descriptor, memoryview(poison)[: self._end - offset], offset)

    def read_given(self, slots: int) -> torch.Tensor:
        """A private copy of what was given, uint8 [slots, given_bytes]."""
        return self._read(0, slots, self._results // self._slots)

    def read_results(self, slots: int) -> torch.Tensor:
        """A private copy of what was answered, uint8 [slots, result_bytes]."""
        return self._read(self._results, slots, (self._end - self._results) // self._slots)

    def close(self) -> None:
        """Gives it up; a worker may hold it on."""
        with self._in_use:
            if self.descriptor >= 0:
                os.close(self.descriptor)
                self.descriptor = -1

    def _read(self, start: int, slots: int, size: int) -> torch.Tensor:
        import torch

        found = torch.empty((slots, size), dtype=torch.uint8)
        buffer, done = found.view(-1).numpy().data, 0
        with self._in_use:
            while done < len(buffer):
                wanted = min(LONGEST_READ, len(buffer) - done)
                chunk = os.pread(self.descriptor, wanted, start + done)
                if not chunk:
                    raise Fault("protocol", "the shared memory was made shorter")
                buffer[done : done + len(chunk)] = chunk
                done += len(chunk)
        return found


def _shared(size: int) -> int:
    """A descriptor of `size` bytes that two processes may map; nothing of it is left on disk."""
    if sys.platform == "linux":
        import fcntl

        descriptor = os.memfd_create("slots", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return descriptor
    descriptor, name = tempfile.mkstemp(prefix="kernel-lab-slots-")
    os.unlink(name)
    os.ftruncate(descriptor, size)
    return descriptor


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count
