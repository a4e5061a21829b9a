"""A session whose worker lives in the test's own process: all checks, no start-up."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from kernels.spec import Case, TargetFolder
from lab.harness import mlx_worker, torch_worker
from lab.harness.bench import judge as bench_judge
from lab.harness.checking import CaseChecks
from lab.harness.faults import Fault
from lab.harness.pace import ARMS, Pace
from lab.harness.session import Session
from lab.harness.shapes import SLOT_BYTES
from lab.harness.slot_memory import SlotMemory
from lab.harness.timing import CaseTimes
from lab.harness.verify import judge
from lab.outcomes import Failed, Measured, Passed, Quarantined
from trainer.hardware import framework


class InThisProcess:
    """What a session asks of a `WorkerProcess`, answered by an object of this process."""

    simulator = None
    standing_s = None

    def __init__(self, file: Path, memory: SlotMemory, engine: str) -> None:
        self.file = file
        self._memory = memory
        self.worker = mlx_worker.MLXWorker() if engine == "mlx" else torch_worker.TorchWorker()

    def ask(self, question, expected, starting=False):  # type: ignore[no-untyped-def]
        asked = msgspec.json.decode(msgspec.json.encode(question))
        kind = asked.pop("type")
        asked.pop("number")
        if kind == "Start":
            asked["memory"] = os.dup(self._memory.descriptor)
        try:
            said = self.worker.answer(kind, asked)
        except (torch_worker.worker.Refusal, mlx_worker.worker.Refusal) as refusal:
            raise Fault(*refusal.args) from None
        if kind == "Start":
            gc.unfreeze()  # a worker freezes what it has; here that would keep all slots for ever
        return msgspec.json.decode(json.dumps({"type": "Done", **said}), type=expected)

    def freeze(self) -> None:
        pass

    def limit_passed(self) -> None:
        return None

    def cpu_s(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


class InProcess(Session):
    """A session whose worker is an object of this process: the same questions, answers and checks,
    without the second it takes to start a process with torch in it. For code that is trusted."""

    def __init__(self, file: Path, function: str, arena_bytes: int, engine: str = "cpu") -> None:
        self._source = file.read_bytes()
        self._function = function
        self._engine = engine
        self.arena_bytes = arena_bytes
        self._cpu_at_answer_s = {}
        self.hand_over_cpu_ns = 0
        self._prepared = False
        self._memory = SlotMemory(arena_bytes)
        self._process = InThisProcess(file, self._memory, engine)  # type: ignore[assignment]

    def _read_switches(self) -> dict[str, str]:
        # The judge changes its number of threads as it goes, and they share a process.
        found = super()._read_switches()
        return {name: value for name, value in found.items() if "num_threads" not in name}


def verify_in_process(
    candidate: Path,
    folder: TargetFolder,
    cases: Sequence[Case],
    dtypes: Sequence[str] = ("float32",),
    incumbent: Path | None = None,
    engine: str = "cpu",
) -> Passed | Failed:
    """`verify`, with both workers in this process."""
    todo = [CaseChecks.of(folder, case, dtype, engine) for case in cases for dtype in dtypes]
    arena = max(one.slots * max(one.layout.slot_bytes, SLOT_BYTES) for one in todo)
    honest = incumbent or folder.incumbent(framework(engine))
    with (
        ThreadPoolExecutor(max_workers=1) as pool,
        InProcess(candidate, folder.id, arena, engine) as ours,
        InProcess(honest, folder.id, arena, engine) as theirs,
    ):
        return judge(todo, ours, theirs, pool)


def bench_in_process(
    candidate: Path,
    folder: TargetFolder,
    pace: Pace,
    floor_ms: float = 0.0,
    arena_bytes: int = 2**24,
) -> Measured | Quarantined | Failed:
    """`bench` of the training cases in float32, with all workers in this process."""
    cases = [case for case in folder.target.train_cases(None) if case.purpose == "train"]  # type: ignore[arg-type]
    todo = [CaseTimes.of(folder, case, "float32", "cpu") for case in cases]
    for one in todo:
        one.floor_ms = floor_ms
    files = {arm: candidate if arm == "candidate" else folder.incumbent("torch") for arm in ARMS}

    @contextmanager
    def workers() -> Iterator[dict[str, InProcess]]:
        with ExitStack() as stack:
            yield {
                arm: stack.enter_context(InProcess(file, folder.id, arena_bytes))
                for arm, file in files.items()
            }

    with ThreadPoolExecutor(max_workers=1) as pool:
        return bench_judge(todo, workers, pool, pace)
