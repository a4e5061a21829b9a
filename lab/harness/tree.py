"""A process tree as the judge sees it: who is in it, how much CPU time it used, if it stands still.

    before = cpu_s(process.pid)
    stop(process); cpu_since_s(process.pid, before)

The kernel's own counts, asked from outside; nothing that a process could write. On Linux the CPU
time is exact to the nanosecond and can be compared for equality: a stopped process uses none.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from lab.harness.running import Sandboxed

STAND_STILL_S = 5.0
"""A tree that has been told to stop must have done so within this; 0.5 ms is usual."""
STANDING = frozenset("TtZX")
"""States of a thread that uses no CPU time: stopped, traced, zombie, dead (proc_pid_stat(5))."""


def descendants(pid: int) -> Iterator[int]:
    """Every process below `pid`, without `pid` itself."""
    if sys.platform != "linux":
        with contextlib.suppress(psutil.Error):
            yield from (child.pid for child in psutil.Process(pid).children(recursive=True))
        return
    # psutil would read the whole process table; this reads our own branch of it.
    with contextlib.suppress(OSError, ValueError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                children = [int(word) for word in file.read().split()]
            for child in children:
                yield child
                yield from descendants(child)


def send_signal(pid: int, number: signal.Signals) -> None:
    """kill(2), where a process that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def resident_bytes(processes: Iterable[int]) -> int:
    """Resident memory of those that are still there; what they share counts for each."""
    total = 0
    for pid in processes:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total


def cpu_s(pid: int) -> dict[int, float]:
    """CPU seconds of every process below `pid`, by process id, with those of its own children that
    have ended. A child whose end nobody waited for (SIGCHLD ignored) takes its time with it."""
    return {below: process_cpu_s(below) for below in descendants(pid)}


def cpu_since_s(pid: int, before: Mapping[int, float]) -> float:
    """CPU seconds since `before`, process by process, so that none can make up for another.

    Infinite if one has gone: nobody knows what it used. None goes while its parent is stopped.
    """
    now = cpu_s(pid)
    if now and before.keys() - now.keys():
        return math.inf
    return increase_s(before, now)


def increase_s(before: Mapping[int, float], now: Mapping[int, float]) -> float:
    """CPU seconds from one reading to the next; of a process that is new, all that it used."""
    return sum(max(0.0, used - before.get(pid, 0.0)) for pid, used in now.items())


def process_cpu_s(pid: int) -> float:
    """CPU seconds of one process, all its threads, and its children that have ended."""
    return sum(_own_and_taken_over_s(pid))


class Meter:
    """CPU seconds of the processes below `pid` since it was last asked; asked often, it is exact.

    The sum over all processes would do but for one that ends while nobody waits for it (SIGCHLD
    ignored): its time is gone from the sum, and as much new work with it. So the work of each
    process counts, less what a parent took over of a child that had been counted before.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._used: dict[int, float] = {}
        self._waited: dict[int, float] = {}
        self._gone_s = 0.0
        """Of those that had gone when last asked, what no parent had taken over yet."""
        self.since_s()

    def since_s(self) -> float:
        """Since the last time, or since it was made."""
        # Parents come first: one that takes over a child's time is never read after the child.
        read = {pid: _own_and_taken_over_s(pid) for pid in descendants(self._pid)}
        used = {pid: max(sum(both), self._used.get(pid, 0.0)) for pid, both in read.items()}
        waited = {pid: taken_over_s for pid, (_, taken_over_s) in read.items()}
        gone_s = sum(s for pid, s in self._used.items() if pid not in used)
        taken_over_s = increase_s(self._waited, waited)
        found = increase_s(self._used, used) - min(taken_over_s, gone_s + self._gone_s)
        self._gone_s = max(0.0, gone_s - taken_over_s)
        self._used, self._waited = used, waited
        return max(0.0, found)


def stop(process: Sandboxed) -> bool:
    """Stops its whole tree and waits until it stands still; False if it went on for too long."""
    end = time.perf_counter() + STAND_STILL_S
    process.freeze()
    while not stands_still(process.pid):
        if time.perf_counter() > end:
            return False
        process.freeze()
    return True


def stands_still(pid: int) -> bool:
    """Whether every process below `pid` is stopped, and none was started meanwhile."""
    seen = list(descendants(pid))
    # Looked at again: one that was forked before its parent stopped is in the second list.
    return all(map(_is_stopped, seen)) and list(descendants(pid)) == seen


def _clock_of(pid: int) -> int:
    """The clock of a process's CPU time, as clock_getcpuclockid(3) makes it."""
    return (~pid << 3) | 2


def _own_and_taken_over_s(pid: int) -> tuple[float, float]:
    """CPU seconds of all threads of a process, and of its children whose end it waited for."""
    with contextlib.suppress(psutil.Error, OSError):
        if sys.platform == "linux":
            return time.clock_gettime(_clock_of(pid)), _waited_for_s(pid)
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system, 0.0
    return 0.0, 0.0


def _waited_for_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.children_user + times.children_system


def _is_stopped(pid: int) -> bool:
    if sys.platform != "linux":
        try:
            return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True
    try:
        return all(_state(task) in STANDING for task in Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return True


def _state(task: Path) -> str:
    """The letter after the name, which is in brackets and may hold any character."""
    try:
        return (task / "stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
