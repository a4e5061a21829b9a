"""The tour: the main job from end to end on an embedded default, on any machine.

prepare → train a little → profile → open the hottest target that has a starting candidate →
verify → bench → A/B → gate → report. It works in a scratch lab (`RESULTS/tour`, with its own ledger
and registry), so that it promotes nothing in the checkout unless asked. What the ledger already
holds for the very same candidate, harness and machine is not done again: Ctrl-C and a second run
go on.

A verdict of hold or reject is an honest end: the tour reports it and succeeds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import msgspec

from lab import stages
from lab.context import (
    Lab,
    default_language,
    default_preset,
    evidence,
    latest_profile,
    run_settings,
    subject,
    target_folder,
)
from lab.errors import MachineError
from lab.harness import isolation
from lab.harness.sandbox import NoSandbox
from lab.isolation import without_sandbox
from lab.orchestrate import open_workspaces
from lab.outcomes import Compared, Measured, Passed, Quarantined
from lab.places import ROOT, places
from lab.progress import Progress
from lab.records import Judged, Profiled, Verdict
from lab.workspace import Workspace

DATA = "stdlib"
TRAIN_STEPS = 20
AB_PAIRS = 3
AB_STEPS = 20
EVAL_TOKENS = 16384

Say = Callable[[str], None]


class TourEnd(msgspec.Struct, frozen=True, kw_only=True):
    """Where the tour ended: the verdict in words, and what to look at."""

    verdict: Verdict
    sentence: str
    target: str
    workspace: str
    seconds: float
    report: str
    picture: str
    ledger: str
    promoted: bool = False


def run(lab: Lab, *, fresh: bool, promote: bool, progress: Progress, say: Say) -> TourEnd:
    """Takes the tour, or goes on with it."""
    started = time.monotonic()
    scratch = _scratch(lab, fresh)
    _prepare(progress, say)
    _train(scratch, say)
    profiled = _profile(scratch, progress, say)
    workspace = _open(scratch, profiled, say)
    with _sandbox(scratch, workspace, say):
        judged = _judge(scratch, workspace, progress, say)
    promoted = False
    if promote and judged.verdict.decision == "promote":
        promoted = _promote(lab, scratch, workspace, judged, say)
    return _report(scratch, workspace, judged, promoted, time.monotonic() - started)


def _preset(lab: Lab) -> str:
    """On a CPU the engine's default, which for MLX is a smaller one; elsewhere `tour`."""
    from trainer.hardware import computes_on_cpu

    return default_preset(lab.engine) if computes_on_cpu(lab.engine) else "tour"


def _scratch(lab: Lab, fresh: bool) -> Lab:
    folder = lab.places.results / "tour"
    if fresh and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    asked = "cpu" if lab.engine_asked == "auto" else lab.engine_asked
    return Lab(places(folder, registry=folder / "registry" / "promoted.toml"), asked)


def _prepare(progress: Progress, say: Say) -> None:
    import prepare

    say(f"1/8 prepare: {DATA}, the source text of this Python's standard library")
    prepare.prepare(DATA, progress=progress)


def _train(lab: Lab, say: Say) -> None:
    """One short run of the trainer, so that a newcomer sees the val_bpb block; kept as a log."""
    log = lab.places.results / f"run-{lab.engine}.log"
    argv = [sys.executable, str(ROOT / "train.py"), "--engine", lab.engine]
    argv += ["--preset", _preset(lab)]
    argv += ["--data", DATA, "--steps", str(TRAIN_STEPS), "--eval-tokens", str(EVAL_TOKENS)]
    argv += ["--registry", str(lab.places.registry), "--no-checkpoint"]
    if log.is_file() and "val_bpb" in log.read_text():
        say(f"2/8 train: done before, see {log}")
        return
    say(f"2/8 train: {TRAIN_STEPS} steps of the preset '{_preset(lab)}' on {lab.engine}")
    finished = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    if finished.returncode != 0:
        raise MachineError(
            f"train.py ended with {finished.returncode}: {finished.stderr.strip()[-600:]}",
            "Run it by itself: " + " ".join(["uv run train.py", *argv[2:]]),
        )
    log.write_text(finished.stdout)
    say(finished.stdout.rpartition("---\n")[2].strip())


def _profile(lab: Lab, progress: Progress, say: Say) -> Profiled:
    found = latest_profile(lab, lab.engine)
    say("3/8 profile: " + ("done before" if found else "where a training step spends its time"))
    return found or stages.profile(lab, _preset(lab), DATA, 6, None, progress)


def _open(lab: Lab, profiled: Profiled, say: Say) -> Workspace:
    """The hottest target with a starting candidate; the workspace of an earlier run."""
    language = default_language(lab.engine)
    ranked = sorted((op for op in profiled.ops if op.target), key=lambda op: -op.ceiling_roofline)
    hot = next((op for op in ranked if target_folder(op.op).starting_candidate(language)), None)
    if hot is None:
        raise MachineError(f"no target of the profile has a starting candidate in {language}")
    for workspace in open_workspaces(lab):
        if workspace.seal.target == hot.op:
            say(f"4/8 open: {workspace.name}, opened before")
            return workspace
    workspace, _ = stages.open_workspace(lab, hot.op, preset=_preset(lab))
    say(
        f"4/8 open: {hot.op} takes {hot.share:.0%} of a step; at this machine's roofline the step "
        f"would be {hot.ceiling_roofline:.2f}x faster. Workspace {workspace.name}"
    )
    return workspace


def _sandbox(lab: Lab, workspace: Workspace, say: Say) -> AbstractContextManager[None]:
    """Goes on without a sandbox where none works, but only with a candidate that the lab ships.

    That is code which the user trusts by running the lab at all; any other is refused. What comes
    about here never promotes.
    """
    try:
        isolation()
    except NoSandbox as error:
        _, stored = subject(lab, workspace)
        shipped = target_folder(workspace.seal.target).starting_candidate(workspace.seal.language)
        if shipped is None or stored.path.read_bytes() != shipped.read_bytes():
            raise
        say(f"warning: {error.message}. The tour's candidate ships with the lab, so the tour goes")
        say("on without; its evidence is marked, and the verdict can only be hold or reject.")
        return without_sandbox()
    return nullcontext()


def _judge(lab: Lab, workspace: Workspace, progress: Progress, say: Say) -> Judged:
    """verify, bench, A/B, as far as each passes and is not in the ledger yet; then the gate."""
    _, stored = subject(lab, workspace)
    found = evidence(lab, workspace, stored)
    say("5/8 verify: " + _again(found.verified, "against the float64 oracle, with gradients"))
    verified = found.verified or stages.verify(lab, workspace, progress)
    if isinstance(verified.outcome, Passed):
        kept = found.benched if found.benched and not _was_noisy(found.benched.outcome) else None
        say("6/8 bench: " + _again(kept, "paired with the incumbent"))
        benched = kept or stages.bench(lab, workspace, progress)
        if isinstance(benched.outcome, Measured):
            enough = found.tried and _has_pairs(found.tried.outcome)
            say("7/8 ab: " + _again(enough, f"{AB_PAIRS} pairs of {AB_STEPS} training steps"))
            if not enough:
                settings = run_settings(
                    *(lab, _preset(lab), DATA, AB_STEPS, str(EVAL_TOKENS)), workspace=workspace
                )
                stages.ab(lab, workspace, settings, pairs=AB_PAIRS, progress=progress)
    say("8/8 gate and report")
    return stages.gate(lab, workspace)


def _again(done: object, what: str) -> str:
    return "done before" if done else what


def _was_noisy(outcome: object) -> bool:
    """Whether a bench came to nothing through the machine's fault, and is worth another try."""
    return isinstance(outcome, Quarantined) and outcome.by_machine


def _has_pairs(outcome: object) -> bool:
    return isinstance(outcome, Compared) and len(outcome.pairs) >= AB_PAIRS


def _promote(lab: Lab, scratch: Lab, workspace: Workspace, judged: Judged, say: Say) -> bool:
    """Enters the promotion in the checkout's registry; the evidence stays in the tour's ledger."""
    from lab.promote import promote as enter

    target = Lab(replace(scratch.places, registry=lab.places.registry), scratch.engine_asked)
    say("promote: " + enter(target, workspace, judged).file)
    return True


def _report(
    lab: Lab, workspace: Workspace, judged: Judged, promoted: bool, seconds: float
) -> TourEnd:
    from lab.report import verdict_sentence, write_report

    lines = list(lab.ledger.read())
    made = write_report(lines, lab.places.report)
    return TourEnd(
        verdict=judged.verdict,
        sentence=verdict_sentence(judged, lines),
        target=workspace.seal.target,
        workspace=str(workspace.folder),
        seconds=seconds,
        report=str(made.html),
        picture=str(made.png),
        ledger=str(lab.places.ledger),
        promoted=promoted,
    )
