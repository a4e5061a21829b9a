"""One worker as the judge sees it: what it is given and what it answers.

    with Session(file, folder.id, engine, arena_bytes, Patience()) as session:
        session.prepare()
        session.arrange(layout, 2)
        session.write(given)
        timed, calls = session.run(2, True), session.fetch(2)
        results = session.read_results(2)

One method per question of protocol.py, with the judge's own clocks around those that are timed.
Every way in which a worker can fail becomes a `Fault`; whether what it computed is right is decided
elsewhere. Its process is worker_process.py's matter, the shared memory slot_memory.py's. Candidate
code is never imported here.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import CommandError
from lab.harness import protocol, tree
from lab.harness.faults import Fault
from lab.harness.midway import Change, Changes
from lab.harness.slot_memory import SlotMemory
from lab.harness.worker_process import Patience, WorkerProcess
from lab.outcomes import Simulated

if TYPE_CHECKING:
    import torch

    from lab.harness.inputs import Layout

LONGEST_SOURCE = 2**20
"""Bytes. Larger files are refused unread: nobody writes a megabyte of kernel."""


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
        self.arena_bytes = arena_bytes
        """How much shared memory there is for slots."""
        self._cpu_at_answer_s: dict[int, float] = {}
        self.hand_over_cpu_ns = 0
        """CPU time of its whole tree from the calls' answer until it stood still again, with its
        results handed over."""
        self._prepared = False
        self._memory = SlotMemory(arena_bytes)
        try:
            self._process = WorkerProcess(
                self._source, engine, self._memory, patience, hide, simulate
            )
        except BaseException:
            self._memory.close()
            raise

    # ---- the questions ---------------------------------------------------------------------------

    def prepare(self) -> None:
        """Parses the source, starts the framework, imports the candidate; once."""
        if self._prepared:
            return
        if len(self._source) > LONGEST_SOURCE:
            raise Fault("syntax", f"the file is larger than {LONGEST_SOURCE} bytes")
        parse = protocol.Parse(path=str(self._process.file))
        start = protocol.Start(
            memory=self._memory.descriptor,
            memory_bytes=self._memory.mapped_bytes,
            device=self._engine,
        )
        self._process.ask(parse, protocol.Done, starting=True)
        self._process.ask(start, protocol.Done, starting=True)
        self._switches = self._read_switches()
        self._process.ask(protocol.Import(function=self._function), protocol.Done)
        self._prepared = True
        self.check_switches()

    def check_switches(self) -> None:
        """Reason `switches`, if one of the whole process is another than before the import."""
        from trainer.engines.torch.switches import changed

        found = changed(self._switches, self._read_switches())
        self._process.freeze()
        if found:
            raise Fault(
                "switches",
                f"{found}; that holds for every other op of the trainer too. Leave it alone, or "
                "put it back before returning",
            )

    def _read_switches(self) -> dict[str, str]:
        """The worker's word, which its candidate can forge."""
        from trainer.engines.torch.switches import SWITCHES

        return self._process.ask(protocol.Switches(names=SWITCHES), protocol.Switched).values

    def arrange(self, layout: Layout, slots: int) -> None:
        """Lays out so many slots; their storage stays the same until the next time."""
        self.layout = layout
        self._memory.arrange(layout, slots)
        self._process.ask(layout.question(slots), protocol.Done)
        self._process.freeze()

    def write(self, given: torch.Tensor) -> None:
        """Fills the first slots, uint8 [slots, given_bytes], and poisons all results.

        The worker must not be at work.
        """
        self._memory.write(given)
        self._memory.poison()

    def take_back(self, slots: int) -> torch.Tensor | None:
        """Poisons inputs and results once the calls are answered; the inputs as they were left.

        Handing over means copying what was computed. Who computes only now, or wrote its results
        where they are read, had that time for free: a call of relu_squared takes little longer than
        copying what it returns. On a device inputs are a copy that is out of reach: None.
        """
        if self._engine != "cpu":
            return None
        self._process.freeze()
        left = self.read_given(slots)
        self._memory.poison(given_too=True)
        return left

    def run(self, slots: int, differentiate: bool) -> Timed:
        """One call per slot. The judge's clock runs from the question to the answer."""
        return self._run(slots, differentiate, "both")

    def changing(
        self, changes: Iterable[Change], given: torch.Tensor, fresh: torch.Tensor
    ) -> Changes:
        """Within, parts of what was `given` are replaced by what is `fresh`, while calls run."""
        return Changes(changes, self._memory, given, fresh)

    def run_forward(self, slots: int) -> Timed:
        """One call per slot, without the gradients that `run_backward` asks for next.

        The worker is not at work in between.
        """
        timed = self._run(slots, True, "forward")
        self._process.freeze()
        return timed

    def run_backward(self, slots: int) -> Timed:
        """The gradients of the calls of `run_forward`, the last call's first."""
        return self._run(slots, True, "backward")

    def run_one_by_one(self, given: torch.Tensor, differentiate: bool) -> Timed:
        """One call per slot of `given`, each of which is written when the last was answered.

        The judge's clock runs from the first to the last, and so does the worker's: what it does
        meanwhile is not its to say.
        """
        self._memory.poison()
        standing_s = self._process.standing_s or {}
        ends = [time.perf_counter_ns()]
        for slot, content in enumerate(given):
            self._memory.write(content, slot)
            self._process.ask(protocol.Next(slot=slot, differentiate=differentiate), protocol.Done)
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
        standing_s = self._process.standing_s or {}
        start = before = time.perf_counter_ns()
        self._process.ask(protocol.Load(slots=slots), protocol.Done)
        if self._engine != "cpu":
            start = time.perf_counter_ns()
        question = protocol.Run(slots=slots, differentiate=differentiate, passes=passes)
        ran = self._process.ask(question, protocol.Ran)
        timed = self._timed(standing_s, start)
        return replace(timed, host_ns=ran.host_ns, device_ns=ran.device_ns, load_ns=start - before)

    def fetch(self, slots: int) -> tuple[protocol.Call, ...]:
        """Lets the worker write its results; returns what it says about them."""
        fetched = self._process.ask(protocol.Fetch(), protocol.Fetched)
        self._process.freeze()
        used_s = tree.increase_s(self._cpu_at_answer_s, self._process.standing_s or {})
        self.hand_over_cpu_ns = int(1e9 * used_s)
        limit = self._process.limit_passed()
        if limit:  # passed just now: the next question would tell
            raise limit
        if len(fetched.calls) != slots:
            raise Fault("protocol", f"{len(fetched.calls)} results of {slots} calls")
        return fetched.calls

    def trace(self, differentiate: bool) -> tuple[str, ...]:
        """The operators of one more call, on what the first slot holds."""
        traced = self._process.ask(protocol.Trace(differentiate=differentiate), protocol.Traced)
        self._process.freeze()
        return traced.operators

    def cpu_s(self) -> float:
        """CPU seconds that the worker's processes have used."""
        return self._process.cpu_s()

    def read_given(self, slots: int) -> torch.Tensor:
        """A private copy of what was given, uint8 [slots, given_bytes]."""
        return self._memory.read_given(slots)

    def read_results(self, slots: int) -> torch.Tensor:
        """A private copy of what was answered, uint8 [slots, result_bytes]."""
        return self._memory.read_results(slots)

    @property
    def launches(self) -> int | None:
        """Of Metal kernels that the simulator has run; None without one."""
        simulator = self._process.simulator
        return simulator.launches if simulator else None

    @property
    def simulated(self) -> Simulated | None:
        """What the simulator ran and found; None without one."""
        simulator = self._process.simulator
        return simulator.summary if simulator else None

    # ---- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Kills the worker and everything it started, and removes its scratch folder."""
        self._process.close()
        self._memory.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_source(file: Path) -> bytes:
    """The bytes of a file, at most one more than allowed. `CommandError` if it is missing."""
    try:
        with file.open("rb") as stream:
            return stream.read(LONGEST_SOURCE + 1)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}", "Name a file.") from error
