"""A small real lab for attacks on what surrounds the harness: the seal, the ledger, the gate.

Such an attack is a file with one function, `attack(scene)`, that changes files of the scene as an
agent with the results folder in its hands could. Before it, every rule of stages 3 to 5 holds for
the candidate, on records made up here. After it, the lab's own code is asked:

    seal      does the workspace still load?          met: `sealed`, or `accepted`
    ledger    does the chain verify?                  met: `broken`, or `accepted`
    gate      does its rule still hold?               met: the rule's name, or `accepted`

Nothing here is measured, and no candidate runs.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernels.spec import load_module
from lab import chain, context, stages
from lab.chain import Head
from lab.context import Lab
from lab.errors import CommandError, MachineError
from lab.harness.identity import trainer_sha256
from lab.ledger import Ledger
from lab.outcomes import Arm, CaseTiming, Compared, Interval, Measured, Pair, Passed, TensorCheck
from lab.places import places
from lab.records import Benched, Calibrated, Handicap, Tried, Verified
from lab.selftest.corpus import Entry
from lab.workspace import Workspace

STEPS = 20
WIGGLE = (0.99, 1.01, 1.0, 1.005, 0.995, 1.002, 0.998, 1.001, 0.999, 1.003)
"""Ten blocks' worth of noise of about half a percent."""
UNREAD = Interval(point=1.0, low=1.0, high=1.0, samples=2)
"""Where a record must hold an interval that the gate computes for itself."""


@dataclass(frozen=True)
class Scene:
    """What an attack may touch."""

    lab: Lab
    workspace: Workspace
    head: Head
    """The ledger's end, as somebody noted it elsewhere before the attack."""

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.lab.places.ledger

    @property
    def candidate(self) -> Path:
        """The file that the author edits."""
        return self.workspace.candidate_file

    def lines(self) -> list[bytes]:
        """The ledger's lines, with their ends."""
        return self.ledger.read_bytes().splitlines(keepends=True)

    def write(self, lines: list[bytes]) -> None:
        """Replaces the ledger's lines."""
        self.ledger.write_bytes(b"".join(lines))

    def rechained(self, lines: list[bytes]) -> list[bytes]:
        """The lines with every link computed anew, as a careful forger would."""
        made: list[bytes] = []
        for line in lines:
            link = chain.line_sha256(made[-1]) if made else chain.GENESIS
            named = re.sub(
                rb'"previous_sha256":"\w*"', f'"previous_sha256":"{link}"'.encode(), line
            )
            made.append(named)
        return made

    def records(self) -> list[Any]:
        """The records of stages 3 to 5, as they are in the ledger."""
        return [r for r in self.lab.ledger.read() if isinstance(r, Verified | Benched | Tried)]


def meet(entry: Entry, engine: str) -> tuple[str, str]:
    """Sets the scene, lets the attack loose, asks the lab."""
    with tempfile.TemporaryDirectory(prefix="kernel-lab-scene-") as name:
        scene = _set(Path(name), entry.target, engine)
        if entry.stage == "gate":
            _require_rules(scene, entry.expected)
        load_module(entry.path).attack(scene)
        if entry.stage == "seal":
            return _seal(scene)
        if entry.stage == "ledger":
            return _ledger(scene)
        return _gate(scene, entry.expected)


def _seal(scene: Scene) -> tuple[str, str]:
    try:
        found = scene.lab.workspace(str(scene.workspace.folder))
    except CommandError as error:
        return "sealed", error.message
    return "accepted", f"loaded as {found.seal.name}"


def _ledger(scene: Scene) -> tuple[str, str]:
    report = Ledger(scene.ledger).verify(scene.head)
    if report.ok:
        return "accepted", f"{report.lines} lines verify"
    first = report.problems[0]
    return "broken", f"line {first.line}: {first.what}"


def _gate(scene: Scene, expected: tuple[str, ...]) -> tuple[str, str]:
    try:
        rules = _rules(scene)
    except MachineError as error:
        return "broken", error.message
    failing = [rule for rule in expected if not rules[rule][0]]
    if failing:
        return failing[0], rules[failing[0]][1]
    return "accepted", "; ".join(detail for _, detail in rules.values())[:300]


def _require_rules(scene: Scene, expected: tuple[str, ...]) -> None:
    """What does not hold beforehand cannot be broken by an attack."""
    for rule in expected:
        holds, detail = _rules(scene)[rule]
        if not holds:
            raise MachineError(f"the scene is set wrongly: {rule} does not hold: {detail}")


def _rules(scene: Scene) -> dict[str, tuple[bool, str]]:
    from lab import gate

    _, stored = context.subject(scene.lab, scene.workspace)
    found = context.evidence(scene.lab, scene.workspace, stored)
    return {r.rule: (r.holds, r.detail) for r in gate.judge(found).reasons}


# ---- a candidate that deserves a promotion, on paper --------------------------------------------


def _set(folder: Path, target: str, engine: str) -> Scene:
    lab = Lab(places(folder / "results", registry=folder / "registry" / "promoted.toml"), engine)
    workspace, _ = stages.open_workspace(lab, target)
    target_folder, stored = context.subject(lab, workspace)
    about = context.about(workspace, target_folder, stored)
    incumbent = context.incumbent_sha256(lab, workspace.seal)
    against: dict[str, Any] = {"isolation": "namespaces", "incumbent_sha256": incumbent}
    cases = [case.name for case in context.cases_of(workspace.seal) if case.purpose == "train"]
    checks = tuple(map(_check, cases))
    passed = Passed(checks=checks, recording="0" * 64)
    lab.ledger.append(Verified(**about, tier="device", isolation="namespaces", outcome=passed))
    timed = Measured(cases=tuple(map(_timing, cases)), speedup=UNREAD, control=UNREAD)
    lab.ledger.append(Benched(**about, **against, tier="device", outcome=timed))
    outcome = _compared(target, incumbent, stored.sha256)
    lab.ledger.append(Tried(**about, **against, trainer_sha256=trainer_sha256(), outcome=outcome))
    kept = ("machine", "engine", "target", "harness_sha256")
    lab.ledger.append(
        Calibrated(
            **{name: about[name] for name in kept},
            preset=workspace.seal.preset,
            isolation="namespaces",
            benches=tuple(_slowed(by) for by in (0.0, 0.05, 0.1)),
            runs=(),
        )
    )
    return Scene(lab, workspace, lab.ledger.head())


def _check(case: str) -> TensorCheck:
    return TensorCheck(
        case=case,
        dtype="float32",
        tensor="y",
        max_error=0.5,
        rms_error=0.5,
        allowed_max=1.0,
        allowed_rms=1.0,
        incumbent_max=0.5,
        incumbent_rms=0.5,
    )


def _slowed(by: float) -> Handicap:
    """A copy of the incumbent that takes so much longer, and was found to."""
    case = _timing("train", candidate_ms=2.0 * (1 + by))
    return Handicap(slowed_by=by, outcome=Measured(cases=(case,), speedup=UNREAD, control=UNREAD))


def _timing(case: str, candidate_ms: float = 1.5) -> CaseTiming:
    return CaseTiming(
        case=case,
        dtype="float32",
        calls_per_block=10,
        incumbent_ms=tuple(2.0 * w for w in WIGGLE),
        candidate_ms=tuple(candidate_ms * w for w in reversed(WIGGLE)),
        control_ms=tuple(2.0 * w for w in WIGGLE[3:] + WIGGLE[:3]),
        floor_ms=0.0,
        speedup=UNREAD,
    )


def _compared(target: str, incumbent: str, candidate: str) -> Compared:
    def arm(step_ms: float, val_bpb: float, sha256: str) -> Arm:
        ops = {target: sha256}
        return Arm(step_ms=step_ms, wall_s=9.0, steps=STEPS, val_bpb=val_bpb, ops=ops)

    pairs = tuple(
        Pair(
            seed=1000 + number,
            order="AB" if number % 2 == 0 else "BA",
            incumbent=arm(100.0, 2.0, incumbent),
            candidate=arm(90.0 * wiggle, 2.0 + (wiggle - 1) / 25, candidate),
        )
        for number, wiggle in enumerate(WIGGLE[:5])
    )
    return Compared(
        preset="tour",
        data="stdlib",
        eval_tokens="cheap",
        steps=STEPS,
        pairs=pairs,
        speedup=UNREAD,
        val_bpb=UNREAD,
    )
