"""What a run prints while it runs: a header, a live progress line, remarks. Results come elsewhere.

On a terminal the progress line rewrites itself; elsewhere a plain line comes every few seconds.
Progress and remarks go to stderr; the header goes to stdout, or to stderr where stdout is kept for
JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from trainer.config import TrainConfig
from trainer.loop import Position

TERMINAL_SECONDS = 0.1
PLAIN_SECONDS = 5.0
"""Between two progress lines."""
SMOOTHING = 0.9
"""Weight of the past in the loss that is shown, as upstream; corrected for its start."""


class Output:
    """The printer of one run. `quiet` prints nothing at all, for use as a library."""

    def __init__(self, *, stdout_is_json: bool = False, quiet: bool = False) -> None:
        self._header_file = sys.stderr if stdout_is_json else sys.stdout
        self._quiet = quiet
        self._rewrites = sys.stderr.isatty()
        self._interval = TERMINAL_SECONDS if self._rewrites else PLAIN_SECONDS
        self._next = 0.0
        self._open_line = False
        self._smooth = self._weight = 0.0

    def header(self, lines: Iterable[str]) -> None:
        """What the run is made of, one thing a line."""
        if not self._quiet:
            print("\n".join(lines), file=self._header_file, flush=True)

    def say(self, remark: str) -> None:
        """One remark; nothing for an empty one."""
        self.end_line()
        if remark and not self._quiet:
            print(remark, file=sys.stderr, flush=True)

    def step(self, position: Position, progress: float, config: TrainConfig) -> None:
        """The progress line after a step, `progress` being the share of the budget used."""
        self._smooth = SMOOTHING * self._smooth + (1 - SMOOTHING) * (position.last_loss or 0.0)
        self._weight = SMOOTHING * self._weight + (1 - SMOOTHING)
        if self._is_due():
            rate = 1e3 * config.total_batch_size / max(position.last_step_ms, 1e-6)
            left = position.seconds * (1 - progress) / progress if progress else 0.0
            loss = self._smooth / self._weight
            self._line(
                f"step {position.step:05d} ({progress:6.1%}) | loss {loss:.4f} | "
                f"{position.last_step_ms:,.0f} ms | {rate:,.0f} tokens/s | {left:,.0f} s left"
            )

    def evaluated(self, done: int, asked: int) -> None:
        """The progress line of the evaluation."""
        if self._is_due():
            self._line(f"evaluating: {done:,} of {asked:,} tokens")

    def end_line(self) -> None:
        """Ends a line that rewrites itself, so that others can follow."""
        if self._open_line:
            print(file=sys.stderr, flush=True)
        self._open_line = False
        self._next = 0.0

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self._quiet or now < self._next:
            return False
        self._next = now + self._interval
        return True

    def _line(self, text: str) -> None:
        if self._rewrites:
            # \033[K clears what a longer line left behind
            print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)
            self._open_line = True
        else:
            print(text, file=sys.stderr, flush=True)
