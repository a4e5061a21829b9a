"""One arm: it does steps only when told to, stands still else, and never outlives its judge."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import stand_in_trainer

from lab import arm, isolation, training_run
from lab.harness import tree
from lab.harness.tree import descendants
from lab.training_run import ArmFailed


@pytest.fixture(autouse=True)
def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "ROOT", stand_in_trainer.install(tmp_path / "root"))


def gone(pids: list[int], within_s: float = 20) -> bool:
    """Whether no process of these is left but for zombies that nobody waits for."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not any(_lives(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def four_turns(one: arm.Arm) -> None:
    one.get_ready()
    for _ in range(4):
        one.turn(1)
        one.pause()


def test_turns_are_timed_one_by_one(tmp_path: Path) -> None:
    """A turn of two steps of 0.05 s takes 0.1 s at least, however long the run stood still."""
    with stand_in_trainer.start(tmp_path, "# STEP_S=0.05 ") as candidate:
        candidate.get_ready()
        candidate.turn(2)
        candidate.pause()
        time.sleep(0.3)
        candidate.turn(1)
        candidate.pause()
        candidate.turn(1)
        run = candidate.finish()
    assert len(run.turn_ms) == 3
    assert run.turn_ms[0] >= 100
    assert run.turn_ms[1] >= 50
    assert run.wall_s >= 0.5
    assert run.before_cpu_s > 0
    assert set(run.ops) == {"rmsnorm", "relu_squared"}


@pytest.mark.parametrize("source", ["# DAEMON ", "# THREAD ", "# STEP_S=0.01 "])
def test_nothing_of_the_tree_works_while_it_is_stopped(tmp_path: Path, source: str) -> None:
    """A daemon that was forked twice and left its session would else work in the other's turn."""
    with stand_in_trainer.start(tmp_path, source) as candidate:
        candidate.get_ready()
        candidate.turn(1)
        candidate.pause()
        before = tree.cpu_s(candidate._process.pid)
        time.sleep(0.3)
        assert tree.cpu_s(candidate._process.pid) == before
        assert tree.stands_still(candidate._process.pid)
        candidate.turn(3)
        assert not tree.stands_still(candidate._process.pid)


def test_work_of_a_run_that_is_woken_early_is_counted(tmp_path: Path) -> None:
    """A kernel timer may send SIGCONT to a stopped process; its CPU time gives it away."""
    with stand_in_trainer.start(tmp_path, "# DAEMON ") as candidate:
        candidate.get_ready()
        candidate.turn(1)
        candidate.pause()
        quiet = candidate._between_cpu_s
        for pid in descendants(candidate._process.pid):
            os.kill(pid, signal.SIGCONT)
        while sum(tree.cpu_s(candidate._process.pid).values()) < sum(candidate._cpu_s.values()) + 1:
            time.sleep(0.02)
        candidate.turn(1)
        assert candidate._between_cpu_s - quiet > 0.9


def test_a_run_that_fills_the_disk_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the incumbent's run finds it full and nobody is to blame. Also at its very end."""
    monkeypatch.setattr(arm, "LARGEST_FOLDER", 2**20)
    with stand_in_trainer.start(tmp_path, "# STEP_S=0.01 ") as candidate:
        candidate.get_ready()
        candidate.turn(4)
        with (candidate.folder / "rubbish").open("wb") as file:
            file.truncate(2**21)
        with pytest.raises(ArmFailed, match="wrote more than"):
            candidate.finish()


@pytest.mark.parametrize(
    ("source", "limit_s", "says"),
    [
        ("# EXIT ", 60, "no such luck"),
        ("# CRASH ", 60, "out of luck"),
        ("# HANG ", 4, "timeout"),
        ("# SILENT ", 4, "timeout"),
        ("# SKIP ", 4, "timeout"),
        ("# EARLY ", 60, "before its turn: 'step 2'"),
    ],
)
def test_a_failing_arm_is_told_and_leaves_nothing(
    tmp_path: Path, source: str, limit_s: float, says: str
) -> None:
    """Dies, hangs, never gets ready, or says steps that it did not do."""
    with stand_in_trainer.start(tmp_path, source, limit_s=limit_s) as candidate:
        pids = list(descendants(candidate._process.pid))
        with pytest.raises(ArmFailed, match=says) as failure:
            four_turns(candidate)
    assert failure.value.candidate
    assert gone(pids)


def test_time_spent_stopped_is_not_held_against_it(tmp_path: Path) -> None:
    """Otherwise long runs that take turns would pass the limit that each keeps alone."""
    with stand_in_trainer.start(tmp_path, "# STEP_S=0.01 ", limit_s=8.0) as candidate:
        candidate.get_ready()
        candidate.pause()
        time.sleep(8.1)
        candidate.turn(4)
        assert candidate.finish().wall_s > 8


JUDGE = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import stand_in_trainer
from lab import training_run
from lab.harness.tree import descendants
folder = Path({folder!r})
training_run.ROOT = folder / "root"
with stand_in_trainer.start(folder, "# DAEMON ") as candidate:
    candidate.get_ready()
    candidate.turn(1)
    candidate.pause()
    print(*descendants(candidate._process.pid), flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGKILL, ""), (signal.SIGKILL, isolation.NONE), (signal.SIGINT, "")],
)
def test_a_stopped_arm_dies_with_its_judge(
    tmp_path: Path, checkout: Path, number: signal.Signals, kind: str
) -> None:
    """A stopped process handles no signal but this one; forgotten, it would hold its memory."""
    script = JUDGE.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(checkout), isolation.FORCE: kind},
        text=True,
    ) as judge:
        try:
            assert judge.stdout is not None
            pids = [int(word) for word in judge.stdout.readline().split()]
            # A zombie is among them: the process between the trainer and its daemon.
            assert sum(map(_lives, pids)) >= 2
        finally:
            os.kill(judge.pid, number)
        judge.wait(timeout=60)
    assert gone(pids)
