"""Taking turns: a run that asks before every few steps whether it may go on.

    train.py --steps 40 --heartbeat 5 --turns 6

A judge that runs two trainers side by side writes `N` and a newline to the pipe; the run does N
steps, each told by the heartbeat, and waits for the next such line. Waiting is no training time. It
knows nothing of what the judge makes of it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from trainer.errors import UsageError

LONGEST_LINE = 32


@dataclass
class Turns:
    """Steps that may be done before asking again; without a descriptor, all of them."""

    descriptor: int | None = None
    _left: int = 0

    def __post_init__(self) -> None:
        if self.descriptor is not None:
            try:
                os.fstat(self.descriptor)
            except (OSError, OverflowError) as error:
                raise UsageError(
                    f"--turns {self.descriptor} is no open file descriptor",
                    "It is meant for a parent process that passes one on.",
                ) from error

    def wait(self) -> float:
        """Takes one step's leave, and waits for it if need be; returns the seconds waited."""
        if self.descriptor is None:
            return 0.0
        start = time.perf_counter()
        while not self._left:
            self._left = self._read(self.descriptor)
        self._left -= 1
        return time.perf_counter() - start

    def _read(self, descriptor: int) -> int:
        line = b""
        while not line.endswith(b"\n") and len(line) < LONGEST_LINE:
            byte = os.read(descriptor, 1)
            if not byte:
                raise UsageError(
                    "whoever gives out the turns has gone away", "Run without --turns."
                )
            line += byte
        if not line.endswith(b"\n") or not line.strip().isdigit():
            raise UsageError(f"a turn of {line!r} steps", "Write a number and a newline.")
        return int(line)
