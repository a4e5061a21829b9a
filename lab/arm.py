"""One arm of an A/B: a training process in the sandbox, timed by the judge's clock.

    with Arm(task, settings, folder, seed, steps, candidate=True) as arm:
        arm.get_ready()
        arm.turn(20)
        arm.pause()          # between turns the whole tree stands still
        arm.turn(20)
        run = arm.finish()   # or, all in one turn: run = arm.go_through(40)

The process does no step before it is told to, and its heartbeats are stamped as they arrive. See
`lab.turns` for who goes when and `lab.audit` for what the clocks must agree on. Nothing the process
says of its own speed or quality is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import NoReturn

from lab.harness import sandbox, tree
from lab.harness.tree import STAND_STILL_S, descendants, resident_bytes
from lab.heartbeats import Heartbeats
from lab.plain_files import bytes_below, last_lines
from lab.training_run import (
    ArmFailed,
    Run,
    Settings,
    Task,
    command,
    handed_over,
    readable,
)
from trainer.files import cache_folder
from trainer.recording import Plan

WATCH_EVERY_S = 0.01
"""At the end of a run its CPU time is read so often; what it uses after the last look is lost."""

LARGEST_FOLDER = 2**34
"""Bytes of all that a run writes. A checkpoint takes 12 per weight, and a billion weights are more
than a machine trains in an A/B; what fills the disk fails the other arm, and is nobody's fault."""
LOOK_EVERY_S = 1.0
"""So often its folder is measured, while it is waited for."""

LONGEST_OUTPUT = 2**24
"""Bytes of what a run printed that are read, from its end. A report lists every step."""


def train(
    task: Task,
    settings: Settings,
    folder: Path,
    seed: int,
    steps: int,
    candidate: bool,
    plan: Plan | None = None,
) -> Run:
    """Trains `steps` steps from `seed` in one turn. Raises `ArmFailed`."""
    with Arm(task, settings, folder, seed, steps, candidate=candidate, plan=plan) as arm:
        return arm.go_through(steps)


class Arm:
    """A training process that does steps when told to.

    With `candidate` that op is forced. `plan` has calls recorded; every run is handed one, if only
    an empty one, so that its command line does not tell whether it records.
    """

    def __init__(
        self,
        task: Task,
        settings: Settings,
        folder: Path,
        seed: int,
        steps: int,
        *,
        candidate: bool,
        plan: Plan | None = None,
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self._is_candidate = candidate
        self._limit_s = settings.limit_s
        self._done = 0
        self._turn_ms: list[float] = []
        self._between_cpu_s = 0.0
        self._cpu_s: dict[int, float] = {}
        """When last read."""
        self._stopped: float | None = None
        """Since when."""
        self._stopped_s = 0.0
        self._looked = 0.0
        """At its folder, when."""
        self._spawned = time.perf_counter()
        argv = command(task, settings, folder, seed, steps, candidate)
        self._start(argv, settings, plan)

    def _start(self, argv: list[str], settings: Settings, plan: Plan | None) -> None:
        receive, heartbeat = os.pipe()
        turns, self._go = os.pipe()
        self._beats = Heartbeats(receive)
        try:
            with (
                (self.folder / "stdout").open("wb") as stdout,
                (self.folder / "stderr").open("wb") as stderr,
                handed_over(plan) as record,
            ):
                pipes = {"--heartbeat": heartbeat, "--turns": turns, "--record": record}
                self._process = sandbox.launch(
                    [*argv, *(word for name, fd in pipes.items() for word in (name, str(fd)))],
                    scratch=self.folder,
                    # The sandbox knows of no turns, so its clock is only the last resort.
                    limits=sandbox.Limits(wall_s=4 * self._limit_s),
                    pass_fds=tuple(pipes.values()),
                    hide=settings.hide,
                    readable=readable(settings),
                    env={"KERNEL_LAB_CACHE": str(cache_folder())},
                    stdout=stdout,
                    stderr=stderr,
                )
        except BaseException:
            self._beats.close()
            os.close(self._go)
            raise
        finally:
            os.close(heartbeat)
            os.close(turns)

    def __enter__(self) -> Arm:
        return self

    def __exit__(self, *exception: object) -> None:
        sandbox.kill_tree(self._process)
        self._beats.close()
        os.close(self._go)

    # ---- in this order, all of them raising `ArmFailed` ------------------------------------------

    def get_ready(self) -> None:
        """Waits until it has started up and warmed up."""
        self._before_s = self._await("ready") - self._spawned
        self._before_cpu_s = self._cpu_since()

    def turn(self, steps: int) -> float:
        """Lets it do `steps` steps; the seconds they took."""
        self._beats.listen(0)
        if self._beats.lines:
            raise self._failure(f"a heartbeat came before its turn: {self._beats.lines[0][0]!r}")
        self._between_cpu_s += self._cpu_since()
        began = time.perf_counter()
        with contextlib.suppress(BrokenPipeError):  # it has ended, and no heartbeat will come
            os.write(self._go, f"{steps}\n".encode())
        self._thaw()
        for number in range(self._done + 1, self._done + steps + 1):
            ended = self._await(f"step {number}")
        self._done += steps
        self._cpu_since()
        self._turn_ms.append(1e3 * (ended - began))
        return ended - began

    def pause(self) -> None:
        """Stops every process and thread of it, and sees to it that they have stopped."""
        self._stopped = time.perf_counter()
        if not tree.stop(self._process):
            raise self._failure(f"it went on for {STAND_STILL_S:.0f} s after it was stopped")
        self._between_cpu_s += self._cpu_since()

    def finish(self) -> Run:
        """Lets it save its checkpoint and end."""
        self._between_cpu_s += self._cpu_since()
        meter, after_cpu_s = tree.Meter(self._process.pid), 0.0
        began = time.perf_counter()
        self._thaw()
        while self._process.poll() is None:
            after_cpu_s += meter.since_s()
            self._check_limits()
            self._beats.listen(WATCH_EVERY_S)
        ended = time.perf_counter()
        self._check_end()
        return Run(
            folder=self.folder,
            wall_s=ended - self._spawned,
            turn_ms=tuple(self._turn_ms),
            before_s=self._before_s,
            before_cpu_s=self._before_cpu_s,
            between_cpu_s=self._between_cpu_s,
            after_s=ended - began,
            after_cpu_s=after_cpu_s,
            ops=self._ops(),
        )

    def go_through(self, steps: int) -> Run:
        """All of it in one turn, with nobody to take turns with."""
        self.get_ready()
        self.turn(steps)
        return self.finish()

    def resident_bytes(self) -> int:
        """Memory of the whole tree now."""
        return resident_bytes(descendants(self._process.pid))

    # ---- within ----------------------------------------------------------------------------------

    def _thaw(self) -> None:
        if self._stopped is not None:
            self._process.thaw()
            self._stopped_s += time.perf_counter() - self._stopped
            self._stopped = None

    def _cpu_since(self) -> float:
        """CPU seconds of the tree since they were last asked for."""
        before, self._cpu_s = self._cpu_s, tree.cpu_s(self._process.pid)
        if self._stopped is not None:  # process by process, so that none can make up for another
            return sum(max(0.0, s - before.get(pid, 0.0)) for pid, s in self._cpu_s.items())
        return max(0.0, sum(self._cpu_s.values()) - sum(before.values()))

    def _left_s(self) -> float:
        return self._limit_s - (time.perf_counter() - self._spawned - self._stopped_s)

    def _check_limits(self) -> None:
        if self._left_s() <= 0:
            raise self._failure(f"stopped by the lab: timeout (limit {self._limit_s:.0f} s)")
        if time.perf_counter() - self._looked > LOOK_EVERY_S:
            self._looked = time.perf_counter()
            self._check_folder()

    def _check_folder(self) -> None:
        if bytes_below(self.folder, LARGEST_FOLDER) > LARGEST_FOLDER:
            limit = f"{LARGEST_FOLDER / 2**30:.0f} GiB"
            raise self._failure(f"stopped by the lab: it wrote more than {limit}")

    def _await(self, expected: str) -> float:
        """Waits for the next heartbeat, which must be this one; when it came."""
        while not self._beats.lines:
            self._check_limits()
            if self._beats.closed:
                self._ended_early(expected)
            self._beats.listen(min(1.0, self._left_s()))
        line, when = self._beats.lines.popleft()
        if line != expected:
            raise self._failure(f"expected the heartbeat {expected!r}, got {line!r}")
        return when

    def _ended_early(self, expected: str) -> NoReturn:
        """The pipe is closed: the process has ended, or will say nothing more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STAND_STILL_S)
            self._check_end()
        raise self._failure(f"it stopped its heartbeats before {expected!r}")

    def _check_end(self) -> None:
        process = self._process
        if process.why:
            raise self._failure(f"stopped by the lab: {process.why}")
        if process.returncode != 0:
            tail = last_lines(self.folder / "stderr", LONGEST_OUTPUT)[-4:]
            raise self._failure(f"exit code {process.returncode}: {' | '.join(tail)}")
        self._check_folder()

    def _ops(self) -> dict[str, str]:
        """The op table of the run's report, the last line of its output."""
        lines = last_lines(self.folder / "stdout", LONGEST_OUTPUT)
        try:
            return {str(n): str(op["sha256"]) for n, op in json.loads(lines[-1])["ops"].items()}
        except (IndexError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._failure(f"its last line of output is no report: {error!r}") from error

    def _failure(self, message: str) -> ArmFailed:
        return ArmFailed(message[:800], candidate=self._is_candidate)
