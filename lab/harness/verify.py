"""Stage 3: is a candidate correct, in every case, dtype, output and gradient?

    outcome = verify(Path("candidate.py"), folder, cases, engine="cpu")

Two fresh workers run the candidate and the incumbent on the same secret inputs; the judge compares
both with the float64 oracle. The incumbent's own error sets the bounds (tolerances.py). Returns the
first failure, or every check; raises `MachineError` only where the lab, the incumbent or the
machine is to blame. Never imports the candidate, never writes a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lab.errors import CommandError
from lab.harness.judge import Fault, Patience, Session
from lab.progress import Progress, silent
from lab.records import Failed, Passed, TensorCheck

if TYPE_CHECKING:
    from kernels.spec import Case, TargetFolder
    from lab.harness.checking import CaseChecks
    from lab.harness.recording import Recording


@dataclass(frozen=True)
class VerifySettings:
    """`dtypes` None: all of the target's. `hide`: folders that no worker may see."""

    dtypes: tuple[str, ...] | None = None
    patience: Patience = field(default_factory=Patience)
    hide: tuple[Path, ...] = ()


def verify(
    candidate: Path,
    folder: TargetFolder,
    cases: Sequence[Case],
    *,
    engine: str,
    incumbent: Path | None = None,
    recording: Recording | None = None,
    settings: VerifySettings | None = None,
    progress: Progress = silent,
) -> Passed | Failed:
    """Judges `candidate` on `cases`, then on calls that training recorded.

    `incumbent` None: the file of the target's folder.
    """
    from lab.harness.checking import CaseChecks

    settings = settings or VerifySettings()
    dtypes = settings.dtypes or folder.target.dtypes
    todo = [CaseChecks.of(folder, case, dtype, engine) for case in cases for dtype in dtypes]
    if not todo:
        raise CommandError(f"no cases of {folder.id} to verify", "Name at least one case.")
    calls = recording.calls if recording else ()
    todo += [CaseChecks.of_recorded(folder, call, engine) for call in calls]
    arena = max(one.slots * one.layout.slot_bytes for one in todo)
    patience, hide = settings.patience, settings.hide
    honest = incumbent or folder.incumbent("torch")
    with (
        ThreadPoolExecutor(max_workers=2) as pool,
        Session(candidate, folder.id, engine, arena, patience, hide) as ours,
        Session(honest, folder.id, engine, arena, patience, hide) as theirs,
    ):
        outcome = judge(todo, ours, theirs, pool, progress)
    if isinstance(outcome, Passed) and recording:
        return msgspec.structs.replace(outcome, recording=recording.sha256)
    return outcome


def judge(
    todo: Sequence[CaseChecks],
    ours: Session,
    theirs: Session,
    pool: Executor,
    progress: Progress = silent,
) -> Passed | Failed:
    """All checks, with a fresh worker of the candidate (`ours`) and one of the incumbent."""
    from lab.harness.checking import incumbent_blamed

    target = todo[0].folder.id
    current: CaseChecks | None = None
    checks: list[TensorCheck] = []
    progress(f"verify {target}", 0, len(todo))
    try:
        futures = [pool.submit(session.prepare) for session in (ours, theirs)]
        import torch  # noqa: F401  (the judge's own, while the workers import theirs)

        wait(futures)
        futures[0].result()
        with incumbent_blamed(target):
            futures[1].result()
        for number, current in enumerate(todo):
            current.run(ours, theirs, pool)
            checks.extend(current.checks)
            progress(f"verify {target}", number + 1, len(todo))
    except Fault as fault:
        return _failed(fault, current, checks)
    return Passed(checks=tuple(checks), deterministic=all(one.deterministic for one in todo))


def _failed(fault: Fault, current: CaseChecks | None, checks: Sequence[TensorCheck]) -> Failed:
    """The record of a fault, with the case it happened in and the checks up to it."""
    if current is None:
        return Failed(reason=fault.reason, detail=fault.detail)
    where = f"case {current.case.name}, {current.dtype}"
    return Failed(
        reason=fault.reason,
        detail=f"{where}: {fault.detail}",
        case=current.case.name,
        dtype=current.dtype,
        checks=(*checks, *current.checks),
    )
