"""One lab as the commands see it: its places, its engine, and the questions that every stage asks.

Which target, which cases, which evidence counts, which file is the incumbent today. Asks; writes
nothing and runs no candidate code.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lab import workspace as workspaces
from lab.errors import CommandError, unknown
from lab.ledger import Ledger
from lab.places import Places
from lab.records import Calibrated, Profiled
from lab.simulated import harness_of
from lab.workspace import Candidate, Seal, Workspace

if TYPE_CHECKING:
    from kernels.spec import Case, TargetFolder
    from lab.gate import Evidence, Policy
    from lab.training_run import Settings
    from trainer.hardware import Framework

FRAMEWORKS = {"torch": "torch", "mlx": "mlx", "metal": "mlx"}
"""The languages in which candidates can be judged, and the framework that each is called from."""
DEFAULT_PRESET = {"cpu": "tour", "mps": "m5-small", "cuda": "upstream"}
"""What `profile`, `open` and `ab` train when no --preset is given."""
DEFAULT_VOCAB = 8192


@dataclass(frozen=True)
class Lab:
    """One lab: its places and its engine, resolved when first needed."""

    places: Places
    engine_asked: str = "auto"

    @cached_property
    def ledger(self) -> Ledger:
        """The lab's ledger."""
        return Ledger(self.places.ledger)

    @cached_property
    def engine(self) -> str:
        """`auto` resolved to what is here."""
        from trainer.hardware import resolve_engine

        return resolve_engine(self.engine_asked).value

    @property
    def framework(self) -> Framework:
        """In which the engine computes."""
        from trainer.hardware import framework

        return framework(self.engine)

    def preset(self, given: str | None) -> str:
        """The preset given, checked, or the engine's default."""
        from trainer.config import preset

        name = given or default_preset(self.engine)
        preset(name)
        return name

    def workspace(self, name: str) -> Workspace:
        """The workspace of that folder or short name, its seal checked."""
        return workspaces.load(workspaces.find(name, self.places.workspaces), self.ledger)


def default_preset(engine: str) -> str:
    """For mlx it depends on what MLX computes on: its products are slow on a CPU."""
    from trainer.hardware import computes_on_cpu

    if engine == "mlx":
        return "tour-mlx" if computes_on_cpu(engine) else "m5-small"
    return DEFAULT_PRESET[engine]


def default_language(engine: str) -> str:
    """What candidates are written in when no --language is given: the engine's own framework."""
    from trainer.hardware import framework

    return framework(engine)


def require_language(language: str, engine: str) -> None:
    """Raises `CommandError` unless candidates in that language run on that engine."""
    from trainer.hardware import framework

    if FRAMEWORKS.get(language) != framework(engine):
        raise CommandError(
            f"candidates in {language} cannot be judged on engine '{engine}'",
            f"Add --language {framework(engine)}, or name another --engine.",
        )


def target_folder(target: str) -> TargetFolder:
    """The target of that id, or a `CommandError` with the nearest name and the list."""
    from kernels.spec import discover

    folders = discover()
    if target not in folders:
        raise unknown("target", target, folders)
    return folders[target]


def cases_of(seal: Seal) -> tuple[Case, ...]:
    """The cases of a workspace: the training shapes of its preset, then the odd ones."""
    from trainer.config import preset, training_shape

    shape = training_shape(preset(seal.preset), seal.vocab)
    return target_folder(seal.target).target.cases(shape)


def policy_sha256(policy: Policy) -> str:
    """Hash of a policy's canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(policy, order="sorted")).hexdigest()


def latest_profile(lab: Lab, engine: str) -> Profiled | None:
    """The newest profile of `engine` in the ledger."""
    found: list[Profiled] = lab.ledger.newest(1, kind="profiled", engine=engine)
    return found[0] if found else None


def latest_calibration(lab: Lab) -> Calibrated | None:
    """The newest calibration of this engine, hardware, frameworks and harness."""
    from lab.harness import harness_sha256
    from lab.machine import fingerprint

    machine = fingerprint(lab.engine)
    wanted = (lab.engine, harness_sha256(), machine.hardware, machine.frameworks)
    found = None
    for record in lab.ledger.find(kind="calibrated", engine=lab.engine):
        made = record.machine
        if (record.engine, record.harness_sha256, made.hardware, made.frameworks) == wanted:
            found = record
    return found


def evidence(
    lab: Lab, workspace: Workspace, stored: Candidate, lines_read: int | None = None
) -> Evidence:
    """The records that count for this candidate, harness, target and machine, today.

    With `lines_read`, no record behind that line counts.
    """
    from lab import gate as rules
    from lab.evidence import relevant
    from lab.harness.identity import trainer_sha256
    from lab.machine import fingerprint

    seal = workspace.seal
    machine = fingerprint(seal.engine)
    lines = lab.ledger.find_any(*relevant(stored.sha256, seal.target, seal.engine))
    return rules.collect(
        (line for line in lines if lines_read is None or line.number <= lines_read),
        candidate_sha256=stored.sha256,
        harness_sha256=harness_of(seal.language, seal.engine),
        target_sha256=target_folder(seal.target).sha256,
        engine=seal.engine,
        hardware=machine.hardware,
        frameworks=machine.frameworks,
        incumbent_sha256=incumbent_sha256(lab, seal),
        preset=seal.preset,
        trainer_sha256=trainer_sha256(),
        workspace=handle(lab, workspace),
    )


def handle(lab: Lab, workspace: Workspace) -> str:
    """What the commands call a workspace: its name, or its folder where it lies elsewhere."""
    inside = workspace.folder.parent == lab.places.workspaces
    return workspace.name if inside else str(workspace.folder)


def hidden(lab: Lab, workspace: Workspace | None = None) -> tuple[Path, ...]:
    """What no candidate may see: the lab's results and ledger, the workspaces beside its own."""
    beside = workspace.folder.parent.glob(f"*/{workspaces.SEALED}") if workspace else ()
    return (lab.places.results, lab.places.ledger, *(seal.parent for seal in beside))


def run_settings(
    lab: Lab,
    preset: str,
    data: str,
    steps: int,
    eval_tokens: str,
    *,
    workspace: Workspace | None = None,
    turns: bool | None = None,
) -> Settings:
    """What training runs train, that of a workspace's candidate above all; none sees `hidden`."""
    from lab.training_run import Settings
    from trainer.datasets import absolute

    return Settings(
        preset=lab.preset(preset),
        data=absolute(data),  # a run works in a folder of its own
        steps=steps,
        eval_tokens=eval_tokens,
        registry=lab.places.registry,
        hide=hidden(lab, workspace),
        turns=turns,
    )


def incumbent_file(lab: Lab, seal: Seal) -> Path:
    """The file that a training run would use today for the op of a workspace."""
    return running_file(target_folder(seal.target), seal.engine, lab.places.registry)


def running_file(folder: TargetFolder, engine: str, registry: Path) -> Path:
    """The file that a training run on this hardware would use today for a target's op.

    Reads the registry as the trainer does; loads nothing.
    """
    from trainer.hardware import hardware_key
    from trainer.ops import select

    return select(folder, engine, hardware_key(engine), registry).path


def incumbent_sha256(lab: Lab, seal: Seal) -> str:
    """What identifies the incumbent: the hash of that file, and of the parts it stands for."""
    from trainer.hardware import hardware_key
    from trainer.ops import incumbent_sha256

    folder, registry = target_folder(seal.target), lab.places.registry
    return incumbent_sha256(folder, seal.engine, hardware_key(seal.engine), registry)


def subject(lab: Lab, workspace: Workspace) -> tuple[TargetFolder, Candidate]:
    """The target and the stored candidate of a workspace.

    Raises `CommandError` if the target itself changed since the workspace was opened.
    """
    folder = target_folder(workspace.seal.target)
    if folder.sha256 != workspace.seal.target_sha256:
        raise CommandError(
            f"the target {folder.id} changed since {workspace.name} was opened",
            "Open a new workspace on it: "
            f"kernel-lab open {folder.id} --candidate {workspace.candidate_file}",
        )
    return folder, workspaces.store(workspace.candidate_file, lab.places.candidates)


def about(workspace: Workspace, folder: TargetFolder, stored: Candidate) -> dict[str, Any]:
    """The fields that every record about a candidate has."""
    from lab.machine import fingerprint

    seal = workspace.seal
    return {
        "machine": fingerprint(seal.engine),
        "target": seal.target,
        "engine": seal.engine,
        "language": seal.language,
        "workspace": workspace.name,
        "candidate_sha256": stored.sha256,
        "harness_sha256": harness_of(seal.language, seal.engine),
        "target_sha256": folder.sha256,
        "preset": seal.preset,
    }
