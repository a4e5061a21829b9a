"""The lines of a training process's heartbeat, stamped by the judge's clock as they arrive."""

from __future__ import annotations

import os
import select
import time
from collections import deque

LONGEST_LINE = 64
"""Without a newline so long, it is no heartbeat."""


class Heartbeats:
    """The reading end of the pipe. `lines` are those that nobody took yet, with their times."""

    def __init__(self, descriptor: int) -> None:
        self.lines: deque[tuple[str, float]] = deque()
        self.closed = False
        """Whether every process that could write has closed its end."""
        self._descriptor = descriptor
        self._rest = b""

    def listen(self, timeout_s: float) -> None:
        """Waits at most so long for something to arrive."""
        if self.closed:
            time.sleep(timeout_s)
            return
        if not select.select([self._descriptor], [], [], max(0.0, timeout_s))[0]:
            return
        chunk = os.read(self._descriptor, 4096)
        now = time.perf_counter()
        self.closed = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        self.lines.extend((line[:LONGEST_LINE].decode(errors="replace"), now) for line in lines)

    def close(self) -> None:
        """Once only."""
        os.close(self._descriptor)
