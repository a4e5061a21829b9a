"""Stage 4: is a candidate faster than the incumbent, at the shapes that training runs?

    outcome = bench(Path("candidate.py"), folder, cases, engine="cpu", floor_ms=floor)

Times forward and backward together, as training pays for both, in the dtype that training uses on
the engine. The result is the paired ratio incumbent / candidate with its interval, per case and as
geometric mean, beside an A/A control of the same session. Timings that cannot be true (below the
speed of light, clocks that disagree, wrong outputs) or decide nothing (a control that is off, a
machine too noisy) come back `Quarantined`, with all raw samples and no speed-up to quote as
evidence.

All cases are timed on one generation of fresh workers after another (`pace`, `bench_intervals`).
The next ones start only when the last are gone: importing torch takes seconds of all cores.

What is and is not flushed: on the CPU nothing is. Between two blocks the judge writes and reads
every slot of all arms, which leaves in the caches what it touched last, the same for every arm; a
block of many calls touches each slot once. On CUDA a block's slots together are larger than the L2
cache wherever a call is not too large for more than one slot.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import CommandError
from lab.harness.faults import Fault
from lab.harness.pace import ARMS, Pace
from lab.harness.session import Session
from lab.harness.worker_process import Patience
from lab.outcomes import CaseTiming, Failed, Measured, Quarantined
from lab.progress import Progress, silent
from trainer.hardware import computes_on_cpu, framework

if TYPE_CHECKING:
    from kernels.spec import Case, TargetFolder
    from lab.harness.timing import CaseTimes

TRAINING_DTYPE = {"cuda": "bfloat16", "mps": "float32", "cpu": "float32"}
CONTROL_MARGIN = 1.02
"""How far the A/A interval may lie from 1: the least gain that the gate promotes."""


@dataclass(frozen=True)
class BenchSettings:
    """`dtype` None: what training uses on the engine. `hide`: folders that no worker may see."""

    dtype: str | None = None
    pace: Pace = field(default_factory=Pace)
    arena_bytes: int = 2**27
    """Shared memory per arm; a case whose one call needs more gets what it needs."""
    patience: Patience = field(default_factory=Patience)
    hide: tuple[Path, ...] = ()


def bench(
    candidate: Path,
    folder: TargetFolder,
    cases: Sequence[Case],
    *,
    engine: str,
    incumbent: Path | None = None,
    floor_ms: Callable[[Case, str], float] | None = None,
    settings: BenchSettings | None = None,
    progress: Progress = silent,
) -> Measured | Quarantined | Failed:
    """Times the training cases among `cases`. `incumbent` None: the file of the target's folder.

    `floor_ms(case, dtype)` is the least time that a call can take on this machine; None sets no
    floor. Raises `MachineError` where the incumbent or the machine fails, `CommandError` where no
    case is a training case.
    """
    from lab.harness.timing import CaseTimes

    settings = settings or BenchSettings()
    dtype = _dtype(folder, engine, settings)
    todo = [CaseTimes.of(folder, case, dtype, engine) for case in cases if case.purpose == "train"]
    if not todo:
        raise CommandError(f"{folder.id} has no training case to time", "Give its training cases.")
    for one in todo:
        one.floor_ms = floor_ms(one.case, dtype) if floor_ms else 0.0
    arena = max(settings.arena_bytes, *(one.layout.slot_bytes for one in todo))
    files = dict.fromkeys(ARMS, incumbent or folder.incumbent(framework(engine))) | {
        "candidate": candidate
    }

    workers = partial(_workers, files, folder.id, engine, arena, settings)
    with ThreadPoolExecutor(max_workers=len(files)) as pool:
        return judge(todo, workers, pool, settings.pace, progress)


def judge(
    todo: Sequence[CaseTimes],
    workers: Callable[[], AbstractContextManager[Mapping[str, Session]]],
    pool: Executor,
    pace: Pace,
    progress: Progress = silent,
) -> Measured | Quarantined | Failed:
    """Times all cases, generation by generation; `workers` starts a fresh one for each arm."""
    from lab.harness.timing import Untrue

    current: CaseTimes | None = None
    started = time.monotonic()
    try:
        for generation in range(pace.generations):
            with workers() as sessions:
                current = None
                _prepare(sessions, todo[0].folder, pool)
                for current in todo:
                    current.measure(sessions, generation, pace, progress)
            took_s = time.monotonic() - started
            if pace.settled(generation + 1, [one.timing() for one in todo], took_s):
                break
        for current in todo:
            current.believe()
    except Fault as fault:
        return _failed(fault, current)
    except Untrue as untrue:
        measured = tuple(one.timing() for one in todo if one.rounds_done > 1)
        return Quarantined(reason=untrue.reason, detail=untrue.detail, cases=measured)
    return _outcome([one.timing() for one in todo], pace)


@contextmanager
def _workers(
    files: Mapping[str, Path], function: str, engine: str, arena: int, settings: BenchSettings
) -> Iterator[dict[str, Session]]:
    """A generation: a fresh worker for each arm, in random order."""
    patience, hide = settings.patience, settings.hide
    with ExitStack() as stack:
        yield {
            arm: stack.enter_context(Session(files[arm], function, engine, arena, patience, hide))
            for arm in random.SystemRandom().sample(list(files), len(files))
        }


def training_dtype(engine: str) -> str:
    """The dtype of activations on that engine."""
    if engine == "mlx":
        return "float32" if computes_on_cpu(engine) else "bfloat16"
    return TRAINING_DTYPE[engine]


def _dtype(folder: TargetFolder, engine: str, settings: BenchSettings) -> str:
    dtype = settings.dtype or training_dtype(engine)
    return dtype if dtype in folder.target.dtypes else folder.target.dtypes[0]


def _prepare(sessions: Mapping[str, Session], folder: TargetFolder, pool: Executor) -> None:
    """Starts all workers at once, the judge's own torch meanwhile."""
    from lab.harness.appeal import incumbent_blamed

    futures = {arm: pool.submit(session.prepare) for arm, session in sessions.items()}
    import torch  # noqa: F401

    wait(list(futures.values()))
    futures.pop("candidate").result()
    with incumbent_blamed(folder.id):
        for future in futures.values():
            future.result()


def _failed(fault: Fault, current: CaseTimes | None) -> Failed:
    if current is None:
        return Failed(reason=fault.reason, detail=fault.detail)
    where = f"case {current.case.name}, {current.dtype}"
    return Failed(
        reason=fault.reason,
        detail=f"{where}: {fault.detail}",
        case=current.case.name,
        dtype=current.dtype,
    )


def _outcome(measured: Sequence[CaseTiming], pace: Pace) -> Measured | Quarantined:
    """The geometric mean over cases, unless the A/A or the width says that nothing follows."""
    from lab.bench_intervals import control, half_width, speedup
    from lab.conditions import seen

    cases = tuple(measured)
    found, same = speedup(cases), control(cases)
    if same.low > CONTROL_MARGIN or same.high < 1 / CONTROL_MARGIN:
        return Quarantined(
            reason="control_failed",
            detail=f"the incumbent against itself came out at {same.point:.3f} "
            f"[{same.low:.3f}, {same.high:.3f}]: the machine favours one process",
            cases=cases,
        )
    if pace.undecided(found):
        rounds = len(cases[0].candidate_ms)
        return Quarantined(
            reason="too_noisy",
            detail=f"after {rounds} rounds the speed-up is known to {half_width(found):.1%} "
            f"either way, [{found.low:.3f}, {found.high:.3f}], which holds both no gain and the "
            f"{pace.gain:g} asked for; {seen(cases)}. End what else runs here and bench again",
            cases=cases,
        )
    return Measured(cases=cases, speedup=found, control=same)
