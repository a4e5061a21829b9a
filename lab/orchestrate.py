"""What there is to do, for every target: the state of each workspace, read from the ledger.

`status` answers the command of that name. `plan` answers `orchestrate`: it ranks the targets of a
profile by what bringing them to the roofline would gain, opens a workspace for each that is worth
it and has none, and names the next step of each. Decides nothing: the evidence is in the ledger.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from lab import stages
from lab import workspace as workspaces
from lab.context import (
    Lab,
    default_language,
    latest_calibration,
    latest_profile,
    target_folder,
)
from lab.errors import CommandError
from lab.next_step import Step, hot, next_step
from lab.records import Profiled
from lab.workspace import Workspace

WORTH = 1.01
"""Targets with a lower ceiling are left alone: 1% is what an A/B can just tell from noise."""


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
    contains: tuple[str, ...]


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


def plan(lab: Lab, profiled: Profiled, root: Path | None = None) -> Plan:
    """Opens or resumes the workspaces worth working on, hottest first; names their next steps."""
    language = default_language(lab.engine)
    steps: list[Step] = []
    left_alone: list[str] = []
    existing = open_workspaces(lab, root)
    ranked = sorted(profiled.targets, key=lambda op: -op.ceiling_roofline)
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
        share, ceiling = hot(profiled, target)
        found.append(
            Standing(
                target=target,
                incumbent=select(folder, lab.engine, hardware, lab.places.registry).reason,
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
                contains=tuple(folder.target.contains),
            )
            for name, folder in discover().items()
        )
    )
