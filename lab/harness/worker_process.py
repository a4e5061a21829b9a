"""The process of one worker as the judge holds it: launched, asked, stopped in between, ended.

    process = WorkerProcess(source, engine, memory, Patience(), hide)
    process.ask(protocol.Parse(path=str(process.file)), protocol.Done)
    process.freeze()
    process.close()

Every way in which a worker can fail becomes a `Fault`. Between questions its whole tree is stopped,
and that it stood still is checked before the next one. What the questions are for is the business
of session.py. Candidate code is never imported here; the source is only copied.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lab.errors import MachineError
from lab.harness import protocol, sandbox, tree
from lab.harness.faults import Fault, ended, limit_passed
from lab.harness.running import Limits
from lab.places import ROOT, default_results
from trainer.engines.torch.allocator import NEVER_TRIM
from trainer.hardware import computes_on_cpu, framework

if TYPE_CHECKING:
    from lab.harness.simulator import Simulator
    from lab.harness.slot_memory import SlotMemory

WORKERS = {
    "torch": ("torch_worker.py", "worker.py", "operators.py"),
    "mlx": ("mlx_worker.py", "worker.py", "metal_shim.py"),
}
"""By framework: the script that a worker runs, and what it imports from beside it."""
SCRATCH_NAME = "candidate.py"
AWAKE_S = 0.001
"""CPU time that a tree may use while it is stopped. An honest one uses none."""
CPU_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(NEVER_TRIM),
    "GOMP_SPINCOUNT": "10000",
    "OMP_PROC_BIND": "true",
}
"""What glibc and OpenMP are told where a worker computes on the CPU. Freed memory is kept, as the
trainer keeps it: an op would otherwise be timed with page faults that training does not have.
OpenMP's threads stay awake between parallel regions and each on its core: a worker that was frozen
before a block starts with sleeping threads, two on one core, and blocks scatter three times as
much (rmsnorm, two cores). They give up after a quarter of a millisecond: a thread that spins cannot
be told from one that works on after the answer (`clocks.SPINNING_NS`)."""
Answer = TypeVar("Answer", bound=protocol.Message)


@dataclass(frozen=True)
class Patience:
    """How long the judge waits, in seconds, and what a worker may use."""

    start_s: float = 120.0
    """Importing the framework; several workers start at once."""
    call_s: float = 120.0
    """Importing the candidate, and each question after that: a first call may compile."""
    total_s: float = 1800.0
    memory_bytes: int = 4 * 2**30
    """Resident memory of the worker's tree, besides its slots and temporaries of their size."""


class WorkerProcess:
    """A fresh worker in the sandbox, with a copy of one source."""

    def __init__(
        self,
        source: bytes,
        engine: str,
        memory: SlotMemory,
        patience: Patience,
        hide: Sequence[Path] = (),
        simulate: bool = False,
    ) -> None:
        """With `simulate`, calls of `mx.fast.metal_kernel` go to the Metal simulator."""
        self._engine = engine
        self._patience = patience
        self.standing_s: dict[int, float] | None = None
        """CPU time of its processes when they had stopped; None while it may work."""
        self._scratch = tempfile.TemporaryDirectory(
            prefix="kernel-lab-worker-", ignore_cleanup_errors=True
        )
        self.file = Path(self._scratch.name).resolve() / SCRATCH_NAME
        """Where it finds the source."""
        self._process: sandbox.Sandboxed | None = None
        self._channel: protocol.Channel | None = None
        self.simulator: Simulator | None = None
        # Held while descriptors are in use: closed then, their numbers could be other files'.
        self._in_use = threading.RLock()
        try:
            if simulate:
                self._simulate(hide)
            self.file.write_bytes(source)
            self.file.chmod(0o444)
            self._launch(memory, hide)
        except BaseException:
            self.close()
            raise

    def _simulate(self, hide: Sequence[Path]) -> None:
        from lab.harness.simulator import SLOWER, Simulator

        was = self._patience
        self._patience = replace(was, call_s=SLOWER * was.call_s, total_s=SLOWER * was.total_s)
        self.simulator = Simulator(self._patience.total_s, hide)

    def _launch(self, memory: SlotMemory, hide: Sequence[Path]) -> None:
        to_worker, from_judge = os.pipe()
        to_judge, from_worker = os.pipe()
        self._channel = protocol.Channel(to_judge, from_judge)
        roomy = self._patience.memory_bytes + 12 * memory.size
        files = [Path(__file__).with_name(name) for name in WORKERS[framework(self._engine)]]
        argv = [sys.executable, "-I", "-B", str(files[0]), str(to_worker), str(from_worker)]
        launches = self.simulator.for_worker if self.simulator else ()
        argv += [str(descriptor) for descriptor in launches]
        try:
            self._process = sandbox.launch(
                argv,
                scratch=self.file.parent,
                limits=Limits(
                    wall_s=self._patience.total_s,
                    memory_bytes=roomy,
                    # Twice what may be resident: torch asks for more than it touches.
                    data_bytes=2 * roomy if computes_on_cpu(self._engine) else None,
                    file_bytes=2**30,
                ),
                pass_fds=(to_worker, from_worker, memory.descriptor, *launches),
                hide=(ROOT, default_results(), *hide),
                readable=(*files, self.file),
                keep_scratch=False,
                env=CPU_ENVIRONMENT if computes_on_cpu(self._engine) else None,
            )
        finally:
            os.close(to_worker)
            os.close(from_worker)
            if self.simulator:
                self.simulator.handed_over()

    def ask(
        self, question: protocol.Question, expected: type[Answer], starting: bool = False
    ) -> Answer:
        """The answer to a question, which must be of that type. Raises `Fault`."""
        assert self._process is not None
        process = self._process
        timeout_s = self._patience.start_s if starting else self._patience.call_s
        try:
            with self._in_use:
                if self._channel is None:
                    raise Fault("exit", "the worker was closed")
                self._check_still()
                process.thaw()
                self._channel.send(question)
                answer = self._channel.receive(timeout_s, lambda: process.poll() is None)
        except protocol.Gone:
            raise ended(process, self._patience.total_s) from None
        except protocol.Silent:
            process.kill()
            raise self.limit_passed() or Fault(
                "timeout", f"no answer within {timeout_s:.0f} s; a call must return"
            ) from None
        except protocol.Broken as error:
            process.kill()
            raise self.limit_passed() or Fault("protocol", str(error)) from None
        self._look_at_kernels()
        if isinstance(answer, protocol.Refused):
            if answer.reason == "lab":
                raise MachineError(f"the worker cannot start: {answer.detail}", "kernel-lab doctor")
            raise Fault(answer.reason, answer.detail)
        if not isinstance(answer, expected):
            process.kill()
            pair = f"{type(answer).__name__} to {type(question).__name__}"
            raise Fault("protocol", f"answered {pair}")
        return answer

    def freeze(self) -> None:
        """Stops its whole tree until the next question: it can neither work ahead on inputs that
        are being written nor disturb the timing of another worker."""
        assert self._process is not None
        if not tree.stop(self._process):
            raise Fault("protocol", "went on after it was stopped")
        self.standing_s = tree.cpu_s(self._process.pid)

    def cpu_s(self) -> float:
        """CPU seconds that its processes have used."""
        return sum(tree.cpu_s(self._process.pid).values()) if self._process else 0.0

    def limit_passed(self) -> Fault | None:
        """The fault of having been killed for passing a limit."""
        return limit_passed(self._process, self._patience.total_s) if self._process else None

    def close(self) -> None:
        """Kills it and everything it started, and removes its scratch folder."""
        if self._process is not None:
            self._process.kill()
        if self.simulator is not None:
            self.simulator.close()
        with self._in_use:
            if self._channel is not None:
                self._channel.close()
                self._channel = None
            self._scratch.cleanup()

    def _check_still(self) -> None:
        """Whether it has stood still since then. A timer of the kernel can wake a stopped process:
        it sends SIGCONT."""
        assert self._process is not None
        before, self.standing_s = self.standing_s, None
        if before is None:
            return
        awake_s = tree.cpu_since_s(self._process.pid, before)
        if awake_s > AWAKE_S:
            self._process.kill()
            raise self.limit_passed() or Fault(
                "protocol",
                f"worked for {1e3 * awake_s:.0f} ms while it was stopped; between questions "
                "nothing may run",
            )

    def _look_at_kernels(self) -> None:
        """Raises what the simulator says against them: whatever the worker made of it."""
        if self.simulator is not None:
            self.simulator.look()
            if self.simulator.problem:
                raise Fault(*self.simulator.problem)
