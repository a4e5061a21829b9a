"""Ctrl-C during training: the step in progress is finished, the checkpoint saved, then it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType

STDERR = 2


class Interrupt:
    """Inside the block the first Ctrl-C only sets `wanted`; the second interrupts at once.

    Outside the main thread, where Python allows no signal handlers, Ctrl-C stays as it is.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._is_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Interrupt:
        if self._is_main:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        # straight to the descriptor: the signal may have come in the middle of a print
        with contextlib.suppress(OSError):
            os.write(STDERR, b"\nstopping after this step; Ctrl-C again stops at once, unsaved\n")
