"""The training loop: fixed budget, honest clock, one loss check per step. Knows no framework.

    warm_up(engine, batches, config)                 # compiles and caches; leaves no trace
    position = train(engine, batches, config, budget, Position(), heartbeat=..., on_step=...)

What is counted starts when `ready` is said: start-up, compilation and warm-up lie before it, and
warm-up works on state that is put back, so it trains nothing. Garbage collection is off meanwhile.
The loop saves and evaluates nothing.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trainer.config import TrainConfig
from trainer.errors import DivergedError, UsageError
from trainer.hardware import Choice
from trainer.schedule import Budget, Rates, rates_at
from trainer.scopes import scope
from trainer.turns import Turns

MicroBatch = tuple[np.ndarray, np.ndarray]
"""Inputs and targets, int64 [batch, sequence] each."""

WARM_UP_STEPS = 2
WARM_UP_MICRO_BATCHES = 2
"""Enough to see the first gradient of a step and one that is added to it."""

EXPLODED_RATIO = 3.0
"""A loss this many times the run's first has exploded..."""
EXPLODED_GUESSING = 2.0
"""...if it is also above this many times the loss of guessing uniformly, ln(vocab): a run that is
resumed, or starts on easy text, may have a small first loss."""


class Pending(Protocol):
    """A step that was launched."""

    def wait(self) -> float:
        """Blocks until the step is complete; its mean loss per token, in nats."""


class Engine(Protocol):
    """What the loop, the evaluation and the checkpoints need of an engine."""

    name: str
    device_name: str
    config: TrainConfig
    vocab: int
    steps_in_flight: int
    """How many steps may run while the next is prepared; 0 where a step is done when it returns."""
    notes: dict[str, Choice]
    """What the engine decided by itself, with reasons."""

    @property
    def parameters(self) -> int: ...

    def step(self, micro_batches: Sequence[MicroBatch], rates: Rates) -> Pending: ...

    def token_losses(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray: ...

    def synchronize(self) -> None: ...

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...

    def save(self, folder: Path, state: dict[str, Any]) -> None: ...

    def load(self, folder: Path, with_optimizer: bool = True) -> None: ...

    def peak_memory_mb(self) -> float: ...

    def peak_flops(self) -> tuple[float, str]: ...


class Stream(Protocol):
    """An endless stream of micro-batches that can be rewound, as `trainer.data.Batches`."""

    def __next__(self) -> MicroBatch: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Any) -> None: ...


@dataclass(frozen=True)
class Position:
    """How far a run is."""

    step: int = 0
    """Optimizer steps done."""
    seconds: float = 0.0
    """Training time, warm-up excluded."""
    first_loss: float | None = None
    last_loss: float | None = None
    last_step_ms: float = 0.0
    """Wall clock from the completion of the step before to that of the last."""


@dataclass
class Heartbeat:
    """Tells a judge how far the run is, by lines on a file descriptor that it passed on.

    Best effort: a judge that has gone away does not stop the run.
    """

    descriptor: int | None = None

    def __post_init__(self) -> None:
        if self.descriptor is not None:
            try:
                os.fstat(self.descriptor)
            except (OSError, OverflowError) as error:
                raise UsageError(
                    f"--heartbeat {self.descriptor} is no open file descriptor",
                    "It is meant for a parent process that passes one on.",
                ) from error

    def say(self, line: str) -> None:
        """Writes one line."""
        if self.descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(self.descriptor, f"{line}\n".encode())


def warm_up(engine: Engine, stream: Stream, config: TrainConfig) -> None:
    """Runs real steps on weights, moments and a place in the data that are then put back."""
    place, snapshot = stream.state(), engine.snapshot()
    rates = rates_at(config, 0, 0.0)
    for _ in range(WARM_UP_STEPS):
        count = min(WARM_UP_MICRO_BATCHES, config.accumulation)
        engine.step(take(stream, count), rates).wait()
    engine.restore(snapshot)
    stream.restore(place)
    engine.synchronize()


def train(
    engine: Engine,
    stream: Stream,
    config: TrainConfig,
    budget: Budget,
    start: Position,
    *,
    heartbeat: Heartbeat,
    turns: Turns | None = None,
    on_step: Callable[[Position], None] = lambda position: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Position:
    """Trains from `start` until the budget is spent or `should_stop()`; returns where it got to.

    Raises `DivergedError` when a loss is not finite or has exploded. Where the device works ahead,
    a step's loss is looked at once the next step is launched, so that the host never holds it up;
    with a heartbeat every step is waited for, and so nothing is in flight where a turn ends.
    """
    in_flight = 0 if heartbeat.descriptor is not None else engine.steps_in_flight
    check = _LossCheck(engine.vocab, start.first_loss)
    pending: deque[Pending] = deque()
    position = start
    with _no_garbage_collection():
        engine.synchronize()
        heartbeat.say("ready")
        clock = _Clock(start.seconds)

        def settle() -> Position:
            loss = check(pending.popleft().wait(), position.step + 1)
            after = _advance(position, loss, clock.seconds())
            heartbeat.say(f"step {after.step}")
            on_step(after)
            return after

        for rates in _plan(config, budget, start.step, clock, turns or Turns(), should_stop):
            pending.append(engine.step(take(stream, config.accumulation), rates))
            if len(pending) > in_flight:
                position = settle()
        while pending:
            position = settle()
    heartbeat.say("done")
    return position


class _Clock:
    """Training time so far, that of an earlier process included."""

    def __init__(self, before: float) -> None:
        self._origin = time.perf_counter() - before

    def seconds(self) -> float:
        return time.perf_counter() - self._origin

    def leave_out(self, seconds: float) -> None:
        self._origin += seconds


def _plan(
    config: TrainConfig,
    budget: Budget,
    step: int,
    clock: _Clock,
    turns: Turns,
    should_stop: Callable[[], bool],
) -> Iterator[Rates]:
    """The rates of each step, as long as there is budget and nobody said stop."""
    while not budget.is_spent(step, seconds := clock.seconds()) and not should_stop():
        clock.leave_out(turns.wait())
        yield rates_at(config, step, budget.progress(step, seconds))
        step += 1


def take(stream: Stream, count: int) -> list[MicroBatch]:
    """The next `count` micro-batches."""
    with scope("op:data"):
        return [next(stream) for _ in range(count)]


def _advance(position: Position, loss: float, seconds: float) -> Position:
    return Position(
        step=position.step + 1,
        seconds=seconds,
        first_loss=loss if position.first_loss is None else position.first_loss,
        last_loss=loss,
        last_step_ms=1e3 * (seconds - position.seconds),
    )


class _LossCheck:
    """Passes losses on and raises `DivergedError` at one that is not finite or has exploded."""

    def __init__(self, vocab: int, first: float | None) -> None:
        self._floor = EXPLODED_GUESSING * math.log(vocab)
        self._first = first

    def __call__(self, loss: float, step: int) -> float:
        if not math.isfinite(loss):
            raise DivergedError(f"the loss became {loss} at step {step}", _DIVERGED_HINT)
        if self._first is None:
            self._first = loss
        limit = max(EXPLODED_RATIO * self._first, self._floor)
        if loss > limit:
            raise DivergedError(
                f"the loss exploded: {loss:.2f} at step {step}, after {self._first:.2f} at the "
                f"first (more than {limit:.2f} ends a run)",
                _DIVERGED_HINT,
            )
        return loss


_DIVERGED_HINT = "Lower the learning rates (--matrix-lr, --embedding-lr), or check a forced --op."


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection in the middle of a step is a pause that belongs to no op."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
