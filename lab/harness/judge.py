"""One worker process as the judge sees it: what it is given, what it answers, how it ends.

    with Session(file, folder.id, engine, arena_bytes, Patience()) as session:
        session.prepare()
        session.arrange(layout, 2)
        session.write(given)
        timed, calls = session.run(2, True), session.fetch(2)
        results = session.read_results(2)

Every way in which a worker can fail becomes a `Fault` with a reason of records.FailureReason. The
shared memory is read and written with pread and pwrite only, so that nothing a worker does to it
can crash the judge. Candidate code is never imported here; the source is only copied.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lab.errors import CommandError, MachineError
from lab.harness import protocol, sandbox, tree
from lab.harness.running import Limits
from lab.outcomes import FailureReason, Simulated
from lab.places import ROOT, default_results
from trainer.engines.torch.allocator import NEVER_TRIM
from trainer.hardware import computes_on_cpu, framework

if TYPE_CHECKING:
    import torch

    from lab.harness.inputs import Layout
    from lab.harness.simulator import Simulator

WORKER, MLX_WORKER, METAL_SHIM = (
    Path(__file__).with_name(name) for name in ("worker.py", "mlx_worker.py", "metal_shim.py")
)
LONGEST_SOURCE = 2**20
"""Bytes. Larger files are refused unread: nobody writes a megabyte of kernel."""
LONGEST_READ = 2**20
LONGEST_POISON = 2**18
"""Small enough to stay in a cache while it is written again and again."""
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


class Fault(Exception):
    """What a worker did wrong: a failure reason and one line of detail."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = " ".join(detail.split())[:3000]


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


@dataclass(frozen=True)
class Timed:
    """The clocks of one `run`: the judge's own, and what the worker says."""

    judge_ns: int
    host_ns: int
    device_ns: int
    cpu_ns: int
    """CPU time of the worker's whole tree meanwhile."""
    load_ns: int = 0
    """What copying the inputs to a device took, before the clock started. It counts as handing
    over: a worker that does its work there is as lazy as one that does it afterwards. On the CPU
    nothing is copied, and the clock starts before that question."""
    usual_ns: int = 0
    """Of calls one by one: the median of a call, times their number."""


class Session:
    """A fresh worker for one implementation, in the sandbox, with its shared memory."""

    def __init__(
        self,
        file: Path,
        function: str,
        engine: str,
        arena_bytes: int,
        patience: Patience,
        hide: Sequence[Path] = (),
        simulate: bool = False,
    ) -> None:
        """With `simulate`, calls of `mx.fast.metal_kernel` go to the Metal simulator."""
        self._source = read_source(file)
        self._function = function
        self._engine = engine
        self._patience = patience
        self.arena_bytes = arena_bytes
        """How much shared memory there is for slots."""
        self._slots = self._results = self._end = 0
        self._cpu_s: dict[int, float] | None = None
        """Of its processes when they had stopped; None while it may work."""
        self._cpu_at_answer_s: dict[int, float] = {}
        self.hand_over_cpu_ns = 0
        """CPU time of its whole tree from the calls' answer until it stood still again, with its
        results handed over."""
        self._prepared = False
        self._scratch = tempfile.TemporaryDirectory(
            prefix="kernel-lab-worker-", ignore_cleanup_errors=True
        )
        self._memory = shared_memory(arena_bytes, Path(self._scratch.name).parent)
        self._process: sandbox.Sandboxed | None = None
        self._channel: protocol.Channel | None = None
        self._simulator: Simulator | None = None
        # Held while descriptors are in use, so that none is closed, and its number reused, then.
        self._in_use = threading.RLock()
        try:
            if simulate:
                self._simulate(hide)
            self._launch(hide)
        except BaseException:
            self.close()
            raise

    def _simulate(self, hide: Sequence[Path]) -> None:
        from lab.harness.simulator import SLOWER, Simulator

        was = self._patience
        self._patience = replace(was, call_s=SLOWER * was.call_s, total_s=SLOWER * was.total_s)
        self._simulator = Simulator(self._patience.total_s, hide)

    def _launch(self, hide: Sequence[Path]) -> None:
        scratch = Path(self._scratch.name).resolve()
        self._file = scratch / SCRATCH_NAME
        self._file.write_bytes(self._source)
        self._file.chmod(0o444)
        to_worker, from_judge = os.pipe()
        to_judge, from_worker = os.pipe()
        self._channel = protocol.Channel(to_judge, from_judge)
        roomy = self._patience.memory_bytes + 12 * self.arena_bytes
        worker = MLX_WORKER if framework(self._engine) == "mlx" else WORKER
        argv = [sys.executable, "-I", "-B", str(worker), str(to_worker), str(from_worker)]
        launches = self._simulator.for_worker if self._simulator else ()
        argv += [str(descriptor) for descriptor in launches]
        try:
            self._process = sandbox.launch(
                argv,
                scratch=scratch,
                limits=Limits(
                    wall_s=self._patience.total_s,
                    memory_bytes=roomy,
                    # Twice what may be resident: torch asks for more than it touches.
                    data_bytes=2 * roomy if computes_on_cpu(self._engine) else None,
                    file_bytes=2**30,
                ),
                pass_fds=(to_worker, from_worker, self._memory, *launches),
                hide=(ROOT, default_results(), *hide),
                readable=(WORKER, MLX_WORKER, self._file, *((METAL_SHIM,) if launches else ())),
                keep_scratch=False,
                env=CPU_ENVIRONMENT if computes_on_cpu(self._engine) else None,
            )
        finally:
            os.close(to_worker)
            os.close(from_worker)
            if self._simulator:
                self._simulator.handed_over()

    # ---- the questions ---------------------------------------------------------------------------

    def prepare(self) -> None:
        """Parses the source, starts the framework, imports the candidate; once."""
        if self._prepared:
            return
        if len(self._source) > LONGEST_SOURCE:
            raise Fault("syntax", f"the file is larger than {LONGEST_SOURCE} bytes")
        start = protocol.Start(
            memory=self._memory, memory_bytes=self.arena_bytes, device=self._engine
        )
        self._ask(protocol.Parse(path=str(self._file)), protocol.Done, self._patience.start_s)
        self._ask(start, protocol.Done, self._patience.start_s)
        self._switches = self._read_switches()
        self._ask(protocol.Import(function=self._function), protocol.Done)
        self._prepared = True
        self.check_switches()

    def check_switches(self) -> None:
        """Reason `switches`, if one of the whole process is another than before the import."""
        from trainer.engines.torch.switches import changed

        found = changed(self._switches, self._read_switches())
        self._freeze()
        if found:
            raise Fault(
                "switches",
                f"{found}; that holds for every other op of the trainer too. Leave it alone, or "
                "put it back before returning",
            )

    def _read_switches(self) -> dict[str, str]:
        """The worker's word, which its candidate can forge."""
        from trainer.engines.torch.switches import SWITCHES

        return self._ask(protocol.Switches(names=SWITCHES), protocol.Switched).values

    def arrange(self, layout: Layout, slots: int) -> None:
        """Lays out so many slots; their storage stays the same until the next time."""
        if slots * layout.slot_bytes > self.arena_bytes:
            raise ValueError(f"{slots} slots of {layout.slot_bytes} bytes do not fit")
        self._slots = slots
        self._results = slots * layout.given_bytes
        self._end = slots * layout.slot_bytes
        self._ask(layout.question(slots), protocol.Done)
        self._freeze()

    def write(self, given: torch.Tensor) -> None:
        """Fills the first slots, uint8 [slots, given_bytes], and poisons all results.

        The worker must not be at work.
        """
        with self._in_use:
            _write(self._memory, given.view(-1).numpy().data, 0)
        self._poison()

    def take_back(self, slots: int) -> torch.Tensor | None:
        """Poisons inputs and results once the calls are answered; the inputs as they were left.

        Handing over means copying what was computed. Who computes only now, or wrote its results
        where they are read, had that time for free: a call of relu_squared takes little longer than
        copying what it returns. On a device inputs are a copy that is out of reach: None.
        """
        if self._engine != "cpu":
            return None
        self._freeze()
        left = self.read_given(slots)
        self._poison(0)
        return left

    def _poison(self, start: int | None = None) -> None:
        """Everything from `start` on; None: all results."""
        from lab.harness.inputs import POISON

        poison = bytes([POISON]) * LONGEST_POISON
        first = self._results if start is None else start
        with self._in_use:
            for offset in range(first, self._end, LONGEST_POISON):
                part = memoryview(poison)[: self._end - offset]
                _write(self._memory, part, offset)

    def run(self, slots: int, differentiate: bool) -> Timed:
        """One call per slot. The judge's clock runs from the question to the answer."""
        return self._run(slots, differentiate, "both")

    def run_forward(self, slots: int) -> Timed:
        """One call per slot, without the gradients that `run_backward` asks for next.

        The worker is not at work in between.
        """
        timed = self._run(slots, True, "forward")
        self._freeze()
        return timed

    def run_backward(self, slots: int) -> Timed:
        """The gradients of the calls of `run_forward`, the last call's first."""
        return self._run(slots, True, "backward")

    def run_one_by_one(self, given: torch.Tensor, differentiate: bool) -> Timed:
        """One call per slot of `given`, each of which is written when the last was answered.

        The judge's clock runs from the first to the last, and so does the worker's: what it does
        meanwhile is not its to say.
        """
        self._poison()
        standing_s = self._cpu_s or {}
        size = self._results // self._slots
        ends = [time.perf_counter_ns()]
        for slot, content in enumerate(given):
            with self._in_use:
                _write(self._memory, content.numpy().data, slot * size)
            self._ask(protocol.Next(slot=slot, differentiate=differentiate), protocol.Done)
            ends.append(time.perf_counter_ns())
        usual = statistics.median(after - before for before, after in pairwise(ends))
        return replace(self._timed(standing_s, ends[0]), usual_ns=int(len(given) * usual))

    def _timed(self, standing_s: Mapping[int, float], start: int) -> Timed:
        """Since then, with the CPU time since it stood still."""
        took_ns = time.perf_counter_ns() - start
        self._cpu_at_answer_s = {pid: tree.process_cpu_s(pid) for pid in standing_s}
        cpu_ns = int(1e9 * tree.increase_s(standing_s, self._cpu_at_answer_s))
        return Timed(took_ns, took_ns, 0, cpu_ns)

    def _run(self, slots: int, differentiate: bool, passes: protocol.Passes) -> Timed:
        standing_s = self._cpu_s or {}
        start = before = time.perf_counter_ns()
        self._ask(protocol.Load(slots=slots), protocol.Done)
        if self._engine != "cpu":
            start = time.perf_counter_ns()
        question = protocol.Run(slots=slots, differentiate=differentiate, passes=passes)
        ran = self._ask(question, protocol.Ran)
        timed = self._timed(standing_s, start)
        return replace(timed, host_ns=ran.host_ns, device_ns=ran.device_ns, load_ns=start - before)

    def fetch(self, slots: int) -> tuple[protocol.Call, ...]:
        """Lets the worker write its results; returns what it says about them."""
        fetched = self._ask(protocol.Fetch(), protocol.Fetched)
        self._freeze()
        used_s = tree.increase_s(self._cpu_at_answer_s, self._cpu_s or {})
        self.hand_over_cpu_ns = int(1e9 * used_s)
        limit = self._limit()
        if limit:  # passed just now: the next question would tell
            raise limit
        if len(fetched.calls) != slots:
            raise Fault("protocol", f"{len(fetched.calls)} results of {slots} calls")
        return fetched.calls

    def trace(self, differentiate: bool) -> tuple[str, ...]:
        """The operators of one more call, on what the first slot holds."""
        traced = self._ask(protocol.Trace(differentiate=differentiate), protocol.Traced)
        self._freeze()
        return traced.operators

    def cpu_s(self) -> float:
        """CPU seconds that the worker's processes have used."""
        return sum(tree.cpu_s(self._process.pid).values()) if self._process else 0.0

    def read_given(self, slots: int) -> torch.Tensor:
        """A private copy of what was given, uint8 [slots, given_bytes]."""
        return self._read(0, slots, self._results // self._slots)

    def read_results(self, slots: int) -> torch.Tensor:
        """A private copy of what was answered, uint8 [slots, result_bytes]."""
        return self._read(self._results, slots, (self._end - self._results) // self._slots)

    def _read(self, start: int, slots: int, size: int) -> torch.Tensor:
        import torch

        found = torch.empty((slots, size), dtype=torch.uint8)
        buffer, done = found.view(-1).numpy().data, 0
        with self._in_use:
            while done < len(buffer):
                wanted = min(LONGEST_READ, len(buffer) - done)
                chunk = os.pread(self._memory, wanted, start + done)
                if not chunk:
                    raise Fault("protocol", "the shared memory was made shorter")
                buffer[done : done + len(chunk)] = chunk
                done += len(chunk)
        return found

    @property
    def launches(self) -> int | None:
        """Of Metal kernels that the simulator has run; None without one."""
        return self._simulator.launches if self._simulator else None

    @property
    def simulated(self) -> Simulated | None:
        """What the simulator ran and found; None without one."""
        return self._simulator.summary if self._simulator else None

    # ---- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Kills the worker and everything it started, and removes its scratch folder."""
        if self._process is not None:
            self._process.kill()
        if self._simulator is not None:
            self._simulator.close()
        with self._in_use:
            if self._channel is not None:
                self._channel.close()
                self._channel = None
            if self._memory >= 0:
                os.close(self._memory)
                self._memory = -1
            self._scratch.cleanup()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- within ----------------------------------------------------------------------------------

    def _ask(
        self, question: protocol.Question, expected: type[Answer], timeout_s: float | None = None
    ) -> Answer:
        assert self._process is not None
        process, patience = self._process, timeout_s or self._patience.call_s
        try:
            with self._in_use:
                if self._channel is None:
                    raise Fault("exit", "the worker was closed")
                self._check_still()
                process.thaw()
                self._channel.send(question)
                answer = self._channel.receive(patience, lambda: process.poll() is None)
        except protocol.Gone:
            raise self._ended() from None
        except protocol.Silent:
            process.kill()
            reason = self._limit() or Fault(
                "timeout", f"no answer within {patience:.0f} s; a call must return"
            )
            raise reason from None
        except protocol.Broken as error:
            process.kill()
            raise self._limit() or Fault("protocol", str(error)) from None
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

    def _look_at_kernels(self) -> None:
        """Raises what the simulator says against them: whatever the worker made of it."""
        if self._simulator is not None:
            self._simulator.look()
            if self._simulator.problem:
                raise Fault(*self._simulator.problem)

    def _freeze(self) -> None:
        """Stops the worker's whole tree until the next question: it can neither work ahead on
        inputs that are being written nor disturb the timing of another worker."""
        assert self._process is not None
        if not tree.stop(self._process):
            raise Fault("protocol", "went on after it was stopped")
        self._cpu_s = tree.cpu_s(self._process.pid)

    def _check_still(self) -> None:
        """Whether it has stood still since then. A timer of the kernel can wake a stopped process:
        it sends SIGCONT."""
        assert self._process is not None
        before, self._cpu_s = self._cpu_s, None
        if before is None:
            return
        awake_s = tree.cpu_since_s(self._process.pid, before)
        if awake_s > AWAKE_S:
            self._process.kill()
            raise self._limit() or Fault(
                "protocol",
                f"worked for {1e3 * awake_s:.0f} ms while it was stopped; between questions "
                "nothing may run",
            )

    def _ended(self) -> Fault:
        """Why the worker hung up."""
        assert self._process is not None
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2.0)
        running = process.poll() is None
        process.kill()
        limit = self._limit()
        if limit:
            return limit
        if running:
            return Fault("protocol", "closed its control channel and ran on")
        code, said = process.returncode or 0, process.tail()
        said = f"; it printed: {said}" if said else ""
        if code < 0:
            return Fault("crash", f"the worker died of signal {-code}{said}")
        return Fault("exit", f"the worker ended itself with exit code {code}{said}")

    def _limit(self) -> Fault | None:
        """The fault of a process that was killed for passing a limit."""
        why = self._process.why if self._process is not None else None
        if why == "timeout":
            return Fault("timeout", f"still running after {self._patience.total_s:.0f} s")
        if why == "memory":
            return Fault("memory", "used more memory than a worker may")
        if why == "processes":
            return Fault("memory", "started more processes than a worker may")
        if why == "output_flood":
            return Fault("output_flood", "printed a megabyte or more; remove the prints")
        return None


def read_source(file: Path) -> bytes:
    """The bytes of a file, at most one more than allowed. `CommandError` if it is missing."""
    try:
        with file.open("rb") as stream:
            return stream.read(LONGEST_SOURCE + 1)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}", "Name a file.") from error


def shared_memory(size: int, folder: Path) -> int:
    """A descriptor of `size` bytes that two processes may map; nothing of it is left on disk."""
    if sys.platform == "linux":
        import fcntl

        descriptor = os.memfd_create("slots", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return descriptor
    descriptor, name = tempfile.mkstemp(prefix="kernel-lab-slots-", dir=folder)
    os.unlink(name)
    os.ftruncate(descriptor, size)
    return descriptor


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count
