"""A run that asks before every few steps whether it may go on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from test_loop import FakeEngine, run

from trainer import loop
from trainer.errors import UsageError
from trainer.loop import Heartbeat
from trainer.schedule import SecondsBudget, StepBudget
from trainer.turns import Turns


@pytest.fixture
def pipes() -> Iterator[tuple[Any, int, int, int]]:
    """What the run says, as a file; its heartbeat; the leave it reads; where leave is given."""
    said, heartbeat = os.pipe()
    leave, give = os.pipe()
    with os.fdopen(said) as lines:
        yield lines, heartbeat, leave, give
    for descriptor in (leave, give):
        os.close(descriptor)


def test_no_step_begins_before_its_turn(pipes: tuple[Any, int, int, int]) -> None:
    """Work that is launched early would be done in the other arm's turn, or in nobody's."""
    lines, heartbeat, leave, give = pipes
    engine = FakeEngine(steps_in_flight=1)

    def work() -> None:
        run(engine, StepBudget(5), heartbeat=Heartbeat(heartbeat), turns=Turns(leave))
        os.close(heartbeat)

    trainer = threading.Thread(target=work)
    trainer.start()
    assert lines.readline() == "ready\n"
    assert engine.log == ["synchronize"]
    done = 0
    for steps in (1, 3, 1):
        os.write(give, f"{steps}\n".encode())
        for _ in range(steps):
            done += 1
            assert lines.readline() == f"step {done}\n"
        assert engine.log == ["synchronize", *["step", "wait"] * done]
    trainer.join(timeout=60)
    assert lines.read() == "done\n"


def test_waiting_is_no_training_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a run with a budget of seconds would train half of it, and report slow steps."""
    now_s = [0.0]

    def wait(turns: Turns) -> float:
        now_s[0] += 1000.0
        return 1000.0

    monkeypatch.setattr(Turns, "wait", wait)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))
    stops = iter([False] * 3 + [True])
    ends = run(FakeEngine(), SecondsBudget(500.0), should_stop=lambda: next(stops))
    assert (ends.step, ends.seconds) == (3, 0.0)


@pytest.mark.parametrize("given", [b"", b"three\n", b"-1\n", b"1" * 100])
def test_a_judge_that_goes_away_or_talks_nonsense_ends_the_run(given: bytes) -> None:
    """Waiting for ever would leave a process behind; going on would spoil the measurement."""
    leave, give = os.pipe()
    os.write(give, given)
    os.close(give)
    with pytest.raises(UsageError, match=r"gone away|a turn of"):
        Turns(leave).wait()
    os.close(leave)


def test_without_a_judge_nothing_is_waited_for() -> None:
    """Every ordinary run."""
    assert Turns().wait() == 0.0
    assert run(FakeEngine(), StepBudget(3)).step == 3


def test_a_closed_descriptor_is_a_usage_error() -> None:
    """Told before any training."""
    with pytest.raises(UsageError, match=r"--turns 987 is no open file descriptor"):
        Turns(987)
