"""What to do next, for every target: the state of each workspace, read from the ledger.

`status` answers the command of that name. `plan` answers `orchestrate`: it ranks the targets of a
profile by what bringing them to the roofline would gain, opens a workspace for each that is worth
it and has none, and names the next step of each. Decides nothing: the evidence is in the ledger.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from lab import stages
from lab import workspace as workspaces
from lab.context import Lab, evidence, handle, latest_calibration, latest_profile, target_folder
from lab.errors import CommandError, LabError
from lab.evidence import Evidence
from lab.isolation import forgone
from lab.progress import Progress, silent
from lab.records import Benched, Broken, Failed, Profiled, Quarantined
from lab.workspace import Workspace

WORTH = 1.01
"""Targets with a lower ceiling are left alone: 1% is what an A/B can just tell from noise."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The next step of one workspace: its stage, the command that does it, and why."""

    target: str
    workspace: str
    folder: str
    stage: str
    command: str
    why: str
    share: float | None = None
    ceiling: float | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps in the order in which they are worth doing, and the targets left alone."""

    engine: str
    steps: tuple[Step, ...]
    left_alone: tuple[str, ...]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One target of the catalogue."""

    target: str
    signature: str
    summary: str
    dtypes: tuple[str, ...]
    languages: tuple[str, ...]


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Every target that there is."""

    targets: tuple[Entry, ...]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where one target stands on this engine."""

    target: str
    incumbent: str
    share: float | None
    ceiling: float | None
    workspaces: tuple[Step, ...]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Where every target stands on one engine, hottest first."""

    engine: str
    hardware: str
    records: int
    calibration: str
    """Of when the calibration is that the gate asks for, or why it does not do."""
    targets: tuple[Standing, ...]


def next_step(lab: Lab, workspace: Workspace) -> Step:
    """Reads the evidence for the workspace's present candidate and says what comes next."""
    seal = workspace.seal
    try:
        _, stored = stages.subject(lab, workspace)
    except LabError as error:
        stage, command, why = "edit", error.hint, error.message
    else:
        stage, command, why = _next(lab, workspace, stored)
    hot = _hot(latest_profile(lab, seal.engine), seal.target)
    return Step(
        target=seal.target,
        workspace=workspace.name,
        folder=str(workspace.folder),
        stage=stage,
        command=command,
        why=why,
        share=hot[0],
        ceiling=hot[1],
    )


def _next(lab: Lab, workspace: Workspace, stored: workspaces.Candidate) -> tuple[str, str, str]:
    """The stage that comes next, its command, and why."""
    from lab.gate import Policy, judge

    name, edit = handle(lab, workspace), f"edit {workspace.candidate_file}"
    found = evidence(lab, workspace, stored)
    if _is_promoted(lab, workspace, stored):
        return "promoted", f"kernel-lab demote {workspace.seal.target}", "it is the incumbent now"
    first = _before_a_verdict(found)
    if first:
        stage, why = first
        return stage, edit if stage == "edit" else f"kernel-lab {stage} {name}", why
    verdict = judge(found, Policy())
    unmet = "; ".join(r.rule for r in verdict.reasons if not r.holds)
    if verdict.decision == "promote":
        return "promote", f"kernel-lab promote {name}", "the gate lets it in"
    if verdict.decision == "reject":
        return "edit", edit, f"rejected: {unmet}"
    return _undecided(name, workspace, found, unmet)


def _before_a_verdict(found: Evidence) -> tuple[str, str] | None:
    """The stage without which no verdict says anything, and why; "edit" is the author's."""
    from lab.gate_sandbox import unconfined

    verified, benched, tried = found.verified, found.benched, found.tried
    if verified is None:
        return "verify", "this candidate was not verified here yet"
    if isinstance(verified.outcome, Failed):
        return "edit", f"verify: {verified.outcome.reason}"
    if verified.outcome.no_change_of:
        return "edit", f"verify: no change, the {verified.outcome.no_change_of} called again"
    if benched is None:
        return "bench", "verified, not timed yet"
    if _was_noisy(benched):
        return "bench", "again: the machine was noisy"
    if isinstance(benched.outcome, Failed | Quarantined):
        return "edit", f"bench: {benched.outcome.reason}"
    if tried and isinstance(tried.outcome, Broken):
        return "edit", f"ab: {tried.outcome.reason}"
    again = unconfined(found)
    if again and not forgone():
        return again, "it ran without a sandbox, which never promotes"
    return None


def _was_noisy(benched: Benched) -> bool:
    return isinstance(benched.outcome, Quarantined) and benched.outcome.by_machine


def _undecided(
    name: str, workspace: Workspace, found: Evidence, unmet: str
) -> tuple[str, str, str]:
    from lab.gate_ab import may_be_confirmed
    from lab.policy import Policy
    from lab.stats import LOOKS

    if unmet == "calibrated":
        command = f"kernel-lab --engine {workspace.seal.engine} calibrate-noise"
        return "calibrate", command, "all else holds"
    if may_be_confirmed(found, Policy()):
        return "ab", f"kernel-lab ab {name} --fresh", "would do for a first A/B: confirm it"
    tried = found.tried
    if tried is None:
        return "ab", f"kernel-lab ab {name}", "faster in the bench, not tried in training yet"
    more = [count for count in LOOKS if count > len(tried.outcome.pairs)]
    if more:
        return "ab", f"kernel-lab ab {name} --pairs {more[0]}", f"undecided: {unmet}"
    return "edit", f"edit {workspace.candidate_file}", f"undecided after all looks: {unmet}"


def _is_promoted(lab: Lab, workspace: Workspace, stored: workspaces.Candidate) -> bool:
    from trainer.hardware import hardware_key
    from trainer.ops import read_registry

    seal = workspace.seal
    key = (seal.target, seal.engine, hardware_key(seal.engine), stored.sha256)
    return any(
        (p.op, p.engine, p.hardware, p.candidate_sha256) == key
        for p in read_registry(lab.places.registry)
    )


def _hot(profiled: Profiled | None, target: str) -> tuple[float | None, float | None]:
    for op in profiled.ops if profiled else ():
        if op.op == target:
            return op.share, op.ceiling_roofline
    return None, None


def open_workspaces(lab: Lab, root: Path | None = None) -> list[Workspace]:
    """Every workspace of this engine whose seal is intact, in the lab and under `root`."""
    folders = {p.parent.resolve() for p in lab.places.workspaces.glob(f"*/{workspaces.SEALED}")}
    if root is not None:
        folders |= {p.parent.resolve() for p in root.glob(f"*/{workspaces.SEALED}")}
    found = []
    for folder in sorted(folders):
        try:
            workspace = workspaces.load(folder, lab.ledger)
        except CommandError:
            continue  # of another ledger, or edited: `verify` on it says which
        if workspace.seal.engine == lab.engine:
            found.append(workspace)
    return found


def plan(lab: Lab, profiled: Profiled, root: Path | None = None, language: str = "torch") -> Plan:
    """Opens or resumes the workspaces worth working on, hottest first; names their next steps."""
    steps: list[Step] = []
    left_alone: list[str] = []
    existing = open_workspaces(lab, root)
    ranked = sorted((op for op in profiled.ops if op.target), key=lambda op: -op.ceiling_roofline)
    for op in ranked:
        mine = [w for w in existing if w.seal.target == op.op]
        if op.ceiling_roofline < WORTH and not mine:
            left_alone.append(f"{op.op}: at most {op.ceiling_roofline:.3f}x for the whole step")
            continue
        if not mine and target_folder(op.op).starting_candidate(language) is None:
            left_alone.append(f"{op.op}: no starting candidate in {language}")
            continue
        if not mine:
            name = workspaces.new_name(op.op, lab.engine, language)
            folder = root / name if root else None
            preset = profiled.preset
            mine = [
                stages.open_workspace(lab, op.op, language=language, folder=folder, preset=preset)[
                    0
                ]
            ]
        steps.extend(next_step(lab, workspace) for workspace in mine)
    return Plan(engine=lab.engine, steps=tuple(steps), left_alone=tuple(left_alone))


def status(lab: Lab) -> Status:
    """Where every target stands: its share, what the trainer runs today, its workspaces."""
    from kernels.spec import discover
    from lab.gate_calibration import state as calibration_state
    from trainer.hardware import hardware_key
    from trainer.ops import select

    profiled = latest_profile(lab, lab.engine)
    opened = open_workspaces(lab)
    hardware = hardware_key(lab.engine)
    found = []
    for target, folder in discover().items():
        share, ceiling = _hot(profiled, target)
        found.append(
            Standing(
                target=target,
                incumbent=select(folder, lab.engine, hardware, lab.places.registry)[1],
                share=share,
                ceiling=ceiling,
                workspaces=tuple(next_step(lab, w) for w in opened if w.seal.target == target),
            )
        )
    return Status(
        engine=lab.engine,
        hardware=hardware,
        records=lab.ledger.head().lines,
        calibration=calibration_state(latest_calibration(lab))[1],
        targets=tuple(sorted(found, key=lambda s: -(s.share or 0))),
    )


def catalogue() -> Catalogue:
    """Every target, with its signature and the languages that it has a starting candidate in."""
    from kernels.spec import discover

    return Catalogue(
        targets=tuple(
            Entry(
                target=name,
                signature=name + folder.target.signature,
                summary=folder.target.summary,
                dtypes=folder.target.dtypes,
                languages=tuple(sorted(p.stem for p in folder.path.glob("candidates/*.py"))),
            )
            for name, folder in discover().items()
        )
    )


def advance(lab: Lab, workspace: Workspace, progress: Progress = silent) -> Step:
    """Runs verify and bench as far as they pass, then says the next step."""
    step = next_step(lab, workspace)
    while step.stage in ("verify", "bench"):
        (stages.verify if step.stage == "verify" else stages.bench)(lab, workspace, progress)
        step = next_step(lab, workspace)
    return step
