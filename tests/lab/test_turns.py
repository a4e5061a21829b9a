"""Who goes when, with arms that only write down what they are asked."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import stand_in_trainer

from lab import training_run, turns
from lab.arm import Arm
from lab.harness.tree import descendants
from lab.training_run import ArmFailed
from lab.turns import Which, sizes, take_turns, train_pair


class FakeArm:
    """Takes a fixed time per step."""

    def __init__(self, name: str, log: list[tuple[str, str, int]], step_s: float = 0.1) -> None:
        self.name, self.log, self.step_s = name, log, step_s

    def turn(self, steps: int) -> float:
        self.log.append((self.name, "turn", steps))
        return steps * self.step_s

    def pause(self) -> None:
        self.log.append((self.name, "pause", 0))


def taken(
    steps: int, order: turns.Order, step_s: float = turns.TURN_S / 2
) -> list[tuple[str, str, int]]:
    log: list[tuple[str, str, int]] = []
    # The candidate's speed must not decide how long turns are.
    arms = {"A": FakeArm("A", log, step_s), "B": FakeArm("B", log, step_s / 100)}
    take_turns(arms, order, steps)  # type: ignore[arg-type]
    return log


def test_arms_take_turns_and_the_order_turns_over() -> None:
    """What grows slowly over a pair meets both alike; each stands still in the other's turn."""
    log = [entry for entry in taken(5, "AB") if entry[1] == "turn"]
    assert [(name, steps) for name, _, steps in log] == [
        *(("A", 1), ("B", 1)),
        *(("B", 2), ("A", 2)),
        *(("A", 2), ("B", 2)),
    ]
    whole = taken(5, "BA")
    assert [name for name, what, _ in whole if what == "turn"] == ["B", "A", "A", "B", "B", "A"]
    assert all(
        after[:2] == (before[0], "pause")
        for before, after in pairwise(whole)
        if before[1] == "turn"
    )


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 19, 40, 101])
@pytest.mark.parametrize("step_s", [1e-4, 0.01, 0.24, 0.6, 30.0])
def test_turns_have_every_step_once_and_are_even(steps: int, step_s: float) -> None:
    """A step left out is not trained; a turn much shorter than the others is noise."""
    found = sizes(steps, step_s)
    assert sum(found) == steps
    assert all(size >= 1 for size in found)
    if found:
        assert max(found) - min(found) <= 1
        assert max(found) == 1 or max(found) * step_s < 2 * turns.TURN_S


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Arms are real processes, of the stand-in trainer."""
    monkeypatch.setattr(training_run, "ROOT", stand_in_trainer.install(tmp_path / "root"))
    return tmp_path


def start_in(folder: Path, started: list[Arm], candidate: str = "# STEP_S=0.05 ") -> turns.Starter:
    def start(which: Which) -> Arm:
        started.append(stand_in_trainer.start(folder, candidate if which == "B" else ""))
        return started[-1]

    return start


def test_without_room_for_two_the_arms_go_one_after_the_other(
    real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trainers that swap measure the disk; the second must not even start."""
    monkeypatch.setattr(turns, "ROOM", 1e9)
    runs = train_pair(start_in(real, []), "BA", 4, None)
    assert [len(runs[which].turn_ms) for which in ("A", "B")] == [1, 1]
    assert sum(runs["A"].turn_ms) >= 800
    monkeypatch.setattr(turns, "ROOM", 0.0)
    runs = train_pair(start_in(real, []), "AB", 4, None)
    assert len(runs["A"].turn_ms) == len(runs["B"].turn_ms) > 1


def test_an_interrupt_in_the_middle_leaves_no_process(
    real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One arm stands still at that moment and could not end by itself."""
    started: list[Arm] = []
    pids: list[int] = []

    def interrupted(self: Arm, steps: int) -> float:
        if self is started[1]:
            pids.extend(pid for one in started for pid in descendants(one._process.pid))
            raise KeyboardInterrupt
        return 0.1

    monkeypatch.setattr(Arm, "turn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_pair(start_in(real, started), "AB", 4, True)
    assert len(pids) >= 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.parametrize("source", ["# CRASH STEP_S=0.01 ", "# EXIT "])
def test_when_one_arm_fails_the_other_is_ended(real: Path, source: str) -> None:
    """And the failure says whose it was."""
    started: list[Arm] = []
    with pytest.raises(ArmFailed) as failure:
        train_pair(start_in(real, started, source), "AB", 4, True)
    assert failure.value.candidate
    assert [one._process.poll() is not None for one in started] == [True, True]
