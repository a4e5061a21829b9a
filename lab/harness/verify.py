"""Stage 3: is a candidate correct, in every case, dtype, output and gradient?

    outcome = verify(Path("candidate.py"), folder, cases, engine="cpu")

Two fresh workers run the candidate and the incumbent on the same secret inputs; the judge compares
both with the float64 oracle. The incumbent's own error sets the bounds (tolerances.py). Beside the
cases given, there are hidden shapes (shapes.py) and families of values (families.py), drawn anew
each time. Returns the first failure, or every check and whether the candidate is a known file
again; raises `MachineError` only where the lab, the incumbent or the
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
from lab.harness.faults import Fault
from lab.harness.frameworks import in_another_framework
from lab.harness.sameness import known_text
from lab.harness.session import Session, read_source
from lab.harness.worker_process import Patience
from lab.outcomes import Failed, Passed
from lab.progress import Progress, silent
from trainer.hardware import framework

if TYPE_CHECKING:
    from kernels.spec import Case, TargetFolder
    from lab.harness.checking import CaseChecks
    from lab.harness.families import Round
    from lab.harness.recording import Recording

NO_KERNEL = (
    "no Metal kernel was launched; a candidate in metal calls mx.fast.metal_kernel where training "
    "calls it. One without kernels is a candidate in mlx: open it with --language mlx"
)
REDRAWS, AGAIN = 10, 3
"""How often a hidden shape that proves nothing is drawn again (it happens where a tensor has one
element), and how often the contents of a case that is given: two rows of 32 may happen to be nearly
orthogonal, and so their own polar factor."""


@dataclass(frozen=True)
class VerifySettings:
    """`dtypes` None: all of the target's. `hide`: folders that no worker may see. `simulate`: the
    candidate's Metal kernels run in the simulator."""

    dtypes: tuple[str, ...] | None = None
    patience: Patience = field(default_factory=Patience)
    hide: tuple[Path, ...] = ()
    simulate: bool = False


def verify(
    candidate: Path,
    folder: TargetFolder,
    cases: Sequence[Case],
    *,
    engine: str,
    incumbent: Path | None = None,
    running: Path | None = None,
    recording: Recording | None = None,
    settings: VerifySettings | None = None,
    progress: Progress = silent,
) -> Passed | Failed:
    """Judges `candidate` on `cases`, hidden shapes, then calls that training recorded.

    `incumbent` sets the bounds; None: the file of the target's folder. `running` is what the
    trainer runs today, if that is another file: the candidate may be that one's copy.
    """
    from lab.harness.checking import CaseChecks
    from lab.harness.shapes import SLOT_BYTES, hidden_cases

    settings = settings or VerifySettings()
    dtypes = settings.dtypes or folder.target.dtypes
    if not (cases and dtypes):
        raise CommandError(f"no cases of {folder.id} to verify", "Name at least one case.")
    every = (*cases, *hidden_cases(folder.target))
    todo = [CaseChecks.of(folder, case, dtype, engine) for case in every for dtype in dtypes]
    calls = recording.calls if recording else ()
    todo += [CaseChecks.of_recorded(folder, call, engine) for call in calls]
    arena = max(one.slots * max(one.layout.slot_bytes, SLOT_BYTES) for one in todo)
    patience, hide = settings.patience, settings.hide
    honest = incumbent or folder.incumbent(framework(engine))
    with (
        ThreadPoolExecutor(max_workers=2) as pool,
        Session(candidate, folder.id, engine, arena, patience, hide, settings.simulate) as ours,
        Session(honest, folder.id, engine, arena, patience, hide) as theirs,
    ):
        outcome = judge(todo, ours, theirs, pool, progress)
    if isinstance(outcome, Failed):
        return in_another_framework(outcome, read_source(candidate), engine)
    incumbents = [read_source(file) for file in (honest, running) if file]
    same = known_text(read_source(candidate), incumbents, read_source(folder.reference), folder.id)
    return msgspec.structs.replace(
        outcome,
        no_change_of=same or outcome.no_change_of,
        recording=recording.sha256 if recording else "",
    )


def judge(
    todo: Sequence[CaseChecks],
    ours: Session,
    theirs: Session,
    pool: Executor,
    progress: Progress = silent,
) -> Passed | Failed:
    """All checks, with a fresh worker of the candidate (`ours`) and one of the incumbent."""
    trial = _Trial(todo, ours, theirs, pool, progress)
    outcome: Passed | Failed
    try:
        trial.prepare()
        outcome = trial.run()
    except Fault as fault:
        outcome = trial.failed(fault)
    return msgspec.structs.replace(outcome, simulated=ours.simulated)


@dataclass
class _Trial:
    """One verification, and how far it has come."""

    todo: Sequence[CaseChecks]
    ours: Session
    theirs: Session
    pool: Executor
    progress: Progress
    current: CaseChecks | None = None
    done: list[CaseChecks] = field(default_factory=list)

    def prepare(self) -> None:
        """Both workers, while this process imports its own torch."""
        from lab.harness.appeal import incumbent_blamed

        self._tell()
        futures = [self.pool.submit(session.prepare) for session in (self.ours, self.theirs)]
        import torch  # noqa: F401

        wait(futures)
        futures[0].result()
        with incumbent_blamed(self.todo[0].folder.id):
            futures[1].result()

    def run(self) -> Passed:
        """Every case in every dtype. Raises `Fault` for the candidate."""
        from lab.harness.behaviour import Behaviour
        from lab.harness.families import deal
        from lab.harness.inputs import generator

        behaviour = Behaviour()
        dealt = deal([one.taker for one in self.todo], generator())
        for one, rounds in zip(self.todo, dealt, strict=True):
            before = self.ours.launches
            checks = self._checked(one, rounds)
            if one.case.purpose == "train" and before is not None and before == self.ours.launches:
                raise Fault("no_metal_kernel", NO_KERNEL)
            behaviour.look(checks, self.ours, self.theirs)
            self.ours.check_switches()
            self.done.append(checks)
            self._tell()
        return Passed(
            checks=tuple(check for one in self.done for check in one.compared.checks),
            deterministic=all(one.compared.deterministic for one in self.done),
            no_change_of=behaviour.of,
        )

    def failed(self, fault: Fault) -> Failed:
        """The record of a fault, with the case it happened in and the checks up to it."""
        current = self.current
        if current is None:
            return Failed(reason=fault.reason, detail=fault.detail)
        case, hidden = current.case, current.case.purpose == "hidden"
        sizes = ", ".join(f"{name} {extent}" for name, extent in case.dims.items())
        named = f"{case.name} ({sizes}; {case.layout})" if hidden else case.name
        family = f", {current.current.family} inputs" if current.current else ""
        return Failed(
            reason=fault.reason,
            detail=f"case {named}, {current.dtype}{family}: {fault.detail}",
            case=case.name,
            dtype=current.dtype,
            checks=tuple(check for one in (*self.done, current) for check in one.compared.checks),
        )

    def _checked(self, one: CaseChecks, rounds: Sequence[Round]) -> CaseChecks:
        """The checks once they are done; what proves nothing is drawn again."""
        from lab.harness.checking import ProvesNothing
        from lab.harness.inputs import generator
        from lab.harness.shapes import hidden

        for redraws in range(REDRAWS + 1):
            self.current = one
            try:
                one.run(rounds, self.ours, self.theirs, self.pool)
                break
            except ProvesNothing:
                anew = one.case.purpose == "hidden"
                if redraws == (REDRAWS if anew else AGAIN):
                    raise
                case = hidden(one.folder.target, generator()) if anew else one.case
                one = one.again(case)
        return one

    def _tell(self) -> None:
        self.progress(f"verify {self.todo[0].folder.id}", len(self.done), len(self.todo))
