"""Stage 3: is a candidate correct, in every case, dtype, output and gradient?

    outcome = verify(Path("candidate.py"), folder, cases, engine="cpu")

Two fresh workers run the candidate and the incumbent on the same secret inputs; the judge compares
both with the float64 oracle. The incumbent's own error sets the bounds (tolerances.py). Returns the
first failure, or every check; raises `MachineError` only where the lab, the incumbent or the
machine is to blame. Never imports the candidate, never writes a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import CommandError
from lab.harness.judge import Fault, Patience, Session
from lab.progress import Progress, silent
from lab.records import Failed, Passed, TensorCheck

if TYPE_CHECKING:
    from kernels.spec import Case, TargetFolder
    from lab.harness.checking import CaseChecks


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
    settings: VerifySettings | None = None,
    progress: Progress = silent,
) -> Passed | Failed:
    """Judges `candidate` on `cases`. `incumbent` None: the file of the target's folder."""
    from lab.harness.checking import CaseChecks, incumbent_blamed

    settings = settings or VerifySettings()
    dtypes = settings.dtypes or folder.target.dtypes
    todo = [CaseChecks.of(folder, case, dtype, engine) for case in cases for dtype in dtypes]
    if not todo:
        raise CommandError(f"no cases of {folder.id} to verify", "Name at least one case.")
    arena = max(one.slots * one.layout.slot_bytes for one in todo)
    label, done = f"verify {folder.id}", 0
    progress(label, 0, len(todo))
    current: CaseChecks | None = None
    checks: list[TensorCheck] = []
    with (
        ThreadPoolExecutor(max_workers=2) as pool,
        open_session(candidate, folder, engine, arena, settings) as ours,
        open_session(
            incumbent or folder.incumbent("torch"), folder, engine, arena, settings
        ) as theirs,
    ):
        try:
            honest, prepared = pool.submit(theirs.prepare), pool.submit(ours.prepare)
            import torch  # noqa: F401  (the judge's own, while the workers import theirs)

            wait([honest, prepared])
            prepared.result()
            with incumbent_blamed(folder.id):
                honest.result()
            for current in todo:
                current.run(ours, theirs, pool)
                checks.extend(current.checks)
                done += 1
                progress(label, done, len(todo))
        except Fault as fault:
            return failed(fault, current, checks)
    return Passed(checks=tuple(checks), deterministic=all(one.deterministic for one in todo))


def open_session(
    file: Path, folder: TargetFolder, engine: str, arena: int, settings: VerifySettings
) -> Session:
    """A fresh worker for one implementation of a target."""
    return Session(file, folder.id, engine, arena, settings.patience, settings.hide)


def failed(fault: Fault, current: CaseChecks | None, checks: Sequence[TensorCheck]) -> Failed:
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
