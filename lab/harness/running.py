"""A process in the sandbox while it runs: its output, its limits, its whole tree, its end.

`sandbox.launch` makes one. A thread reads what it prints, another watches time, memory and the
number of processes; whichever limit is passed, the whole tree is killed and `why` says which.
Never decides what an end means for a candidate: that is the judge's.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

import psutil

from lab.errors import MachineError
from lab.harness.tree import descendants, resident_bytes, send_signal

MEGABYTE = 1_000_000
WATCH_EVERY_S = 0.1
"""At 4 GB/s (a fast page-fault rate) memory may pass its limit by 0.4 GB before it is seen."""
KILL_WITHIN_S = 5.0

Why = Literal["timeout", "memory", "processes", "output_flood"]


@dataclass(frozen=True)
class Limits:
    """What a sandboxed process may use. Memory is what the whole tree has resident."""

    wall_s: float
    memory_bytes: int | None = None
    """None: three quarters of the machine's."""
    data_bytes: int | None = None
    """Private memory that may be asked for at all, per process; useless on a GPU engine, whose
    driver reserves the whole address space."""
    cpu_s: int | None = None
    """Per process; None: what all cores give within `wall_s`."""
    processes: int = 64
    open_files: int = 4096
    file_bytes: int = 2**33
    output_bytes: int = MEGABYTE
    """Printing so much or more is a flood; only captured output is counted."""

    def for_kernel(self) -> dict[str, int]:
        """What the kernel itself enforces, by name in `resource`; processes apart."""
        limits = {
            # Not 0: the kernel hands a core to a handler (apport) at 0 too, but never at 1.
            "RLIMIT_CORE": 1,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_CPU": self.cpu_s or math.ceil(self.wall_s * (os.cpu_count() or 1)) + 1,
        }
        if self.data_bytes is not None:
            limits["RLIMIT_DATA"] = self.data_bytes
        return limits

    @property
    def tasks(self) -> int:
        """How many processes and threads the kernel lets it have, where it counts only these.

        Torch starts one thread per core in each of several pools.
        """
        return self.processes * 4 + 16 * (os.cpu_count() or 1)

    @property
    def memory(self) -> int:
        """The limit on resident memory in bytes."""
        return self.memory_bytes or psutil.virtual_memory().total * 3 // 4


class Sandboxed:
    """A running program in the sandbox, much like `subprocess.Popen`."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        limits: Limits,
        status: int,
        lifeline: int,
        codes_above_128_are_signals: bool,
    ) -> None:
        self.why: Why | None = None
        """The limit for which it was killed."""
        self._popen = popen
        self._limits = limits
        self._status = status
        self._lifeline = lifeline
        self._signals_as_codes = codes_above_128_are_signals
        self._captured = bytearray()
        self._stdout = bytearray()
        self._frozen: list[int] = []
        self._lock = threading.Lock()
        self._end = ""
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._reader = threading.Thread(target=self._capture, daemon=True)
        self._watcher.start()
        self._reader.start()

    @classmethod
    def start(
        cls,
        launcher: Sequence[str],
        *,
        orders: Mapping[str, Any],
        limits: Limits,
        environment: Mapping[str, str],
        outputs: tuple[IO[bytes] | None, IO[bytes] | None],
        codes_above_128_are_signals: bool,
    ) -> Sandboxed:
        """Starts `launcher` (jail.py) and hands it its orders."""
        status_read, status_write = os.pipe()
        life_read, life_write = os.pipe()
        try:
            popen = subprocess.Popen(
                list(launcher),
                stdin=subprocess.PIPE,
                stdout=outputs[0] or subprocess.PIPE,
                stderr=outputs[1] or subprocess.PIPE,
                env=dict(environment),
                pass_fds=[*orders["keep"], status_write, life_read],
                start_new_session=True,
            )
        except OSError as error:
            os.close(status_read)
            os.close(life_write)
            raise MachineError(f"the sandbox cannot be started: {error}") from error
        finally:
            os.close(status_write)
            os.close(life_read)
        assert popen.stdin is not None
        with contextlib.suppress(BrokenPipeError), popen.stdin as stdin:
            text = json.dumps({**orders, "status": status_write, "lifeline": life_read})
            stdin.write(text.encode())
        return cls(popen, limits, status_read, life_write, codes_above_128_are_signals)

    # ---- as Popen --------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process id of the launcher, whose descendants the program's processes are."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, or minus the signal that ended it; None while it runs.

        Raises `MachineError` if the sandbox could not be set up.
        """
        if self._popen.poll() is None:
            return None
        with self._lock:
            if not self._end:
                self._end = os.read(self._status, 4096).decode(errors="replace") or "killed"
        return self._meaning()

    def poll(self) -> int | None:
        """The same as `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end. Raises `subprocess.TimeoutExpired`; the process then runs on."""
        self._popen.wait(timeout)
        self._reader.join(timeout=5)  # what it printed last may make it a flood
        code = self.returncode
        assert code is not None
        return code

    def kill(self) -> None:
        """Kills the whole tree, waits until it is gone, and frees what belonged to it."""
        self._kill_all()
        self._popen.wait()
        self._ended.set()
        self._watcher.join(timeout=5)
        self._reader.join(timeout=5)
        with contextlib.suppress(MachineError):
            _ = self.returncode  # read now: the pipe is closed next
        with self._lock:
            if self._lifeline >= 0:
                os.close(self._lifeline)
                os.close(self._status)
                self._lifeline = self._status = -1

    def __enter__(self) -> Sandboxed:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    # ---- beyond Popen ----------------------------------------------------------------------------

    @property
    def stdout(self) -> bytes:
        """What it has printed to captured standard output."""
        return bytes(self._stdout)

    def tail(self, lines: int = 4) -> str:
        """The last lines that it printed to captured output, joined by ` | `."""
        text = bytes(self._captured[-8192:]).decode(errors="replace")
        return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:])

    def freeze(self) -> None:
        """Stops every process of the tree, so that it uses nothing while others are timed."""
        stopped: list[int] = []
        while fresh := [pid for pid in descendants(self.pid) if pid not in stopped]:
            for pid in fresh:
                send_signal(pid, signal.SIGSTOP)
            stopped += fresh
        self._frozen = stopped

    def thaw(self) -> None:
        """Lets the tree go on."""
        for pid in self._frozen:
            send_signal(pid, signal.SIGCONT)
        self._frozen = []

    # ---- within ----------------------------------------------------------------------------------

    def _kill_all(self) -> None:
        """From the top down: the first below the launcher is pid 1 of a namespace, if there is one,
        and takes everything in it along, however fast it forks."""
        end = time.monotonic() + KILL_WITHIN_S
        found = True
        while found and time.monotonic() < end:
            found = False
            for pid in descendants(self.pid):  # one by one: a list of a fork bomb takes too long
                send_signal(pid, signal.SIGKILL)
                found = True
            time.sleep(0.002 if found else 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _stop_for(self, why: Why) -> None:
        if self.why is None:
            self.why = why
            self._kill_all()

    def _watch(self) -> None:
        end = time.monotonic() + self._limits.wall_s
        memory = self._limits.memory
        while not self._ended.wait(WATCH_EVERY_S) and self._popen.poll() is None:
            if self._frozen:
                continue
            tree = list(itertools.islice(descendants(self.pid), self._limits.processes + 1))
            if time.monotonic() > end:
                self._stop_for("timeout")
            elif len(tree) > self._limits.processes:
                self._stop_for("processes")
            elif resident_bytes(tree) > memory:
                self._stop_for("memory")

    def _capture(self) -> None:
        with selectors.DefaultSelector() as selector:
            for stream in (self._popen.stdout, self._popen.stderr):
                if stream is not None:
                    selector.register(stream, selectors.EVENT_READ)
            total = 0
            while selector.get_map():
                for key, _ in selector.select():
                    chunk = os.read(key.fd, 65536)
                    if not chunk:
                        selector.unregister(key.fileobj)
                        continue
                    total += len(chunk)
                    if total >= self._limits.output_bytes:
                        self._stop_for("output_flood")
                        continue
                    self._captured += chunk
                    if key.fileobj is self._popen.stdout:
                        self._stdout += chunk
        for stream in (self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()

    def _meaning(self) -> int:
        """The end that jail.py reported; where it was killed itself, SIGKILL."""
        word, _, rest = self._end.partition("\n")[0].partition(" ")
        if word == "failed":
            raise MachineError(f"the sandbox could not be set up: {rest}", "Run: kernel-lab doctor")
        if word != "exited" or self.why is not None:
            return -signal.SIGKILL
        code = os.waitstatus_to_exitcode(int(rest))
        return 128 - code if self._signals_as_codes and code > 128 else code
