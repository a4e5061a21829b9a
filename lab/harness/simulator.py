"""The Metal simulator of one worker, as the judge sees it: a process, and what it tells.

    simulator = Simulator(wall_s, hide)
    ...start the worker with simulator.for_worker...
    simulator.handed_over()
    simulator.look()                    # after every answer of the worker
    simulator.problem, simulator.launches, simulator.summary

It runs `lab.metal_sim.service` in a sandbox of its own: no network, its scratch in memory, nothing
of ours readable but the simulator. What it tells comes through a file that the worker does not
hold, so a candidate's Python can neither forge nor silence it. A kernel itself runs in a child
process that holds its buffers only. Never imports a candidate; compiles only the simulator's own
sources outside of the sandbox, once, into the lab's cache.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lab.errors import MachineError
from lab.harness import sandbox
from lab.harness.running import Limits
from lab.metal_sim import Builds
from lab.metal_sim.errors import Unavailable
from lab.metal_sim.service import START
from lab.metal_sim.wire import Found, Launched
from lab.outcomes import FailureReason, MetalFinding, MetalTraffic, Simulated
from lab.places import ROOT, default_results

SHIM = Path(__file__).with_name("metal_shim.py")
READABLE = (
    *("lab/__init__.py", "lab/errors.py", "lab/metal_sim"),
    *("trainer/__init__.py", "trainer/errors.py", "trainer/files.py"),
)
"""All of the checkout that the simulator's process sees."""
CLANG = "KERNEL_LAB_METAL_CLANG"
MEMORY_BYTES = 8 * 2**30
"""Resident memory of the simulator's processes: the compiler may have 4 GiB, a call's arrays half
a GiB, several times over."""
SLOWER = 8
"""How much longer a call may take than on the device: a launch takes some 0.05 s at the least."""
MOST_FINDINGS = 64
"""Different findings that a record keeps."""


class Simulator:
    """A running simulator, and what it has told so far."""

    def __init__(self, wall_s: float, hide: Sequence[Path] = ()) -> None:
        builds = Builds()
        builds.prepare()
        self.launches = self.runs = 0
        self.problem: tuple[FailureReason, str] | None = None
        """Why the candidate fails, once it does."""
        self._kernels: dict[str, int] = {}
        self._findings: dict[tuple[str, str, str, int], MetalFinding] = {}
        self._traffic: dict[str, MetalTraffic] = {}
        self._seen = 0
        self._rest = b""
        self._decoder = msgspec.json.Decoder(Launched, strict=True)
        self._scratch = tempfile.TemporaryDirectory(prefix="kernel-lab-metal-")
        self._report = tempfile.TemporaryFile()  # noqa: SIM115
        self._receive, from_service = os.pipe()
        to_service, self._send = os.pipe()
        try:
            self._process = self._launch(builds, to_service, from_service, wall_s, hide)
        except BaseException:
            self.handed_over()
            self._report.close()
            self._scratch.cleanup()
            raise
        finally:
            os.close(to_service)
            os.close(from_service)

    def _launch(
        self,
        builds: Builds,
        receive: int,
        send: int,
        wall_s: float,
        hide: Sequence[Path],
    ) -> sandbox.Sandboxed:
        report = self._report.fileno()
        clang = os.environ.get(CLANG)
        own = [ROOT / name for name in READABLE]
        argv = [sys.executable, "-I", "-B", "-c", START, str(ROOT)]
        argv += [str(receive), str(send), str(report), str(builds.folder)]
        return sandbox.launch(
            argv,
            scratch=Path(self._scratch.name).resolve(),
            limits=Limits(wall_s=wall_s, memory_bytes=MEMORY_BYTES, file_bytes=2**30),
            pass_fds=(receive, send, report),
            hide=(ROOT, default_results(), *hide),
            readable=[*own, builds.folder, *([Path(clang)] if clang else [])],
            keep_scratch=False,
            own_filters=True,
            env={CLANG: clang} if clang else None,
        )

    @property
    def for_worker(self) -> tuple[int, int]:
        """The descriptors that a worker reads answers from and writes launches to."""
        return self._receive, self._send

    def handed_over(self) -> None:
        """Closes them here, once a worker has them: either process sees the other end."""
        for descriptor in self.for_worker:
            os.close(descriptor)

    def look(self) -> None:
        """Takes in what it has told since the last time.

        Raises `MachineError` where it ended by itself, which no launch should bring about.
        """
        ended = self._process.poll() is not None  # before its last words are read
        descriptor = self._report.fileno()
        while chunk := os.pread(descriptor, 2**20, self._seen):
            self._seen += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._take(self._decoder.decode(line))
        if ended and self.problem is None:
            self._blame()

    def _take(self, told: Launched) -> None:
        if told.reason == "unavailable":
            raise Unavailable(f"the Metal simulator cannot work here: {told.problem}")
        if told.reason and self.problem is None:
            self.problem = (told.reason, told.problem)
        if not told.reason:
            self.launches += 1
            self.runs += told.runs
            self._kernels[told.kernel] = self._kernels.get(told.kernel, 0) + 1
            self._weigh(told)
        for found in told.findings:
            key = (told.kernel, found.kind, found.part, found.line)
            if key not in self._findings and len(self._findings) < MOST_FINDINGS:
                self._findings[key] = _finding(told.kernel, found)

    def _weigh(self, told: Launched) -> None:
        before = self._traffic.get(told.kernel)
        if told.elements and (before is None or told.bytes_least > before.bytes_least):
            self._traffic[told.kernel] = MetalTraffic(
                kernel=told.kernel,
                elements=told.elements,
                bytes_moved=told.bytes_moved,
                bytes_least=told.bytes_least,
            )

    def _blame(self) -> None:
        process = self._process
        if process.why == "memory":
            self.problem = ("memory", "the simulator of its kernels used more than 8 GiB")
        elif process.why == "timeout":
            self.problem = ("timeout", "its kernels were simulated for too long")
        else:
            raise MachineError(f"the Metal simulator ended: {process.tail()}", "kernel-lab doctor")

    @property
    def summary(self) -> Simulated:
        """What a record keeps."""
        return Simulated(
            launches=self._kernels,
            runs=self.runs,
            findings=tuple(self._findings.values()),
            traffic=tuple(self._traffic.values()),
        )

    def close(self) -> None:
        """Ends it, with everything that it started."""
        self._process.kill()
        self._report.close()
        self._scratch.cleanup()


def _finding(kernel: str, found: Found) -> MetalFinding:
    return MetalFinding(kernel=kernel, **msgspec.structs.asdict(found))
