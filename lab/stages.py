"""The stages as the command line calls them: read the ledger, do one thing, append one record.

Each function takes a `Lab` and a workspace and returns the record that it appended. Stages meet
only in these records: `bench` asks the ledger whether `verify` passed for this very candidate,
never a variable. What runs candidate code is `lab.harness` and `lab.ab`, in child processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lab import workspace as workspaces
from lab.context import (
    DEFAULT_VOCAB,
    Lab,
    about,
    cases_of,
    default_language,
    evidence,
    hidden,
    incumbent_file,
    incumbent_sha256,
    latest_profile,
    policy_sha256,
    require_language,
    subject,
    target_folder,
)
from lab.errors import CandidateError, CommandError
from lab.outcomes import Compared, Pair, Passed
from lab.progress import Progress, silent
from lab.records import Benched, Judged, Opened, Profiled, Tried, Verified
from lab.simulated import harness_of, require_device, simulates
from lab.workspace import Candidate, Seal, Workspace

if TYPE_CHECKING:
    from kernels.spec import Case
    from lab.training_run import Settings


def open_workspace(
    lab: Lab,
    target: str,
    *,
    language: str | None = None,
    folder: Path | None = None,
    preset: str | None = None,
    candidate: Path | None = None,
) -> tuple[Workspace, Opened]:
    """Stage 2: a new workspace, sealed. `candidate` starts it from a file other than the target's.

    `language` is that of the engine's framework by default. Raises `CommandError` where no
    candidate is given and the target has none in it.
    """
    from lab import task
    from lab.gate import Policy

    found = target_folder(target)
    language = language or default_language(lab.engine)
    source = candidate or found.starting_candidate(language)
    if source is None or not source.is_file():
        raise CommandError(
            f"no starting candidate for {target} in {language}"
            if candidate is None
            else f"{candidate} is missing",
            "Start from a file of yours: "
            f"kernel-lab open {target} --language {language} --candidate FILE",
        )
    require_language(language, lab.engine)
    name = folder.name if folder else workspaces.new_name(target, lab.engine, language)
    seal = Seal(
        name=name,
        target=target,
        engine=lab.engine,
        language=language,
        preset=lab.preset(preset),
        vocab=DEFAULT_VOCAB,
        target_sha256=found.sha256,
        harness_sha256=harness_of(language, lab.engine),
        policy_sha256=policy_sha256(Policy()),
    )
    hot = task.hot_op(latest_profile(lab, lab.engine), target)
    workspace, digest = workspaces.create(
        (folder or lab.places.workspaces / name).resolve(),
        seal,
        source.read_text(encoding="utf-8"),
        task.write(seal, found, cases_of(seal), hot),
    )
    stored = workspaces.store(workspace.candidate_file, lab.places.candidates)
    record = Opened(
        **about(workspace, found, stored),
        seal_sha256=digest,
    )
    return workspace, lab.ledger.append(record)


def profile(
    lab: Lab,
    preset: str | None,
    data: str,
    steps: int,
    output: Path | None,
    progress: Progress = silent,
    *,
    ablate: bool = False,
) -> Profiled:
    """Stage 1: the hot ops of the trainer; also written to `output` as JSON."""
    from lab.machine import fingerprint
    from lab.profiling import profile as measure

    name = lab.preset(preset)
    record = lab.ledger.append(
        measure(
            lab.engine,
            name,
            data,
            steps=steps,
            workdir=lab.places.profiles,
            registry=lab.places.registry,
            machine=fingerprint(lab.engine),
            ablate=ablate,
            progress=progress,
        )
    )
    file = output or lab.places.profiles / f"{name}-{lab.engine}.json"
    text = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
    workspaces.put(text, file.resolve()).chmod(0o644)
    return record


def verify(
    lab: Lab,
    workspace: Workspace,
    progress: Progress = silent,
    *,
    recorded: bool = True,
    simulate: bool = False,
) -> Verified:
    """Stage 3: is the candidate correct, in every case, type and gradient?

    With `simulate`, or where a candidate in Metal finds none, its kernels run in the simulator and
    the record's tier is `simulated`. With `recorded`, also on calls that a training run recorded,
    but not in the simulator; without, the gate holds.
    """
    from lab import harness, recordings

    folder, stored = subject(lab, workspace)
    seal = workspace.seal
    simulate = simulate or simulates(seal.language, seal.engine)
    outcome = harness.verify(
        stored.path,
        folder,
        cases_of(seal),
        engine=seal.engine,
        recording=recordings.provide(lab, seal, progress) if recorded and not simulate else None,
        settings=harness.VerifySettings(hide=hidden(lab, workspace), simulate=simulate),
        running=incumbent_file(lab, seal),
        progress=progress,
    )
    record = Verified(
        **about(workspace, folder, stored),
        tier="simulated" if simulate else "device",
        isolation=harness.isolation(),
        outcome=outcome,
    )
    return lab.ledger.append(record)


def bench(lab: Lab, workspace: Workspace, progress: Progress = silent) -> Benched:
    """Stage 4: is it faster than the incumbent, at the shapes that training runs?

    Raises `CandidateError` unless this very candidate passed `verify` on this machine.
    """
    from lab import harness, roofline

    require_device(workspace.seal, "bench")
    folder, stored = subject(lab, workspace)
    seal = workspace.seal
    _require_verified(lab, workspace, stored, "bench")
    measured_roofline = roofline.measure(seal.engine)

    def floor_ms(case: Case, dtype: str) -> float:
        return roofline.target_floor_ms(measured_roofline, folder.target, case, dtype)

    outcome = harness.bench(
        stored.path,
        folder,
        cases_of(seal),
        engine=seal.engine,
        incumbent=incumbent_file(lab, seal),
        floor_ms=floor_ms,
        settings=harness.BenchSettings(hide=hidden(lab, workspace)),
        progress=progress,
    )
    record = Benched(
        **about(workspace, folder, stored),
        tier="device",
        isolation=harness.isolation(),
        incumbent_sha256=incumbent_sha256(lab, seal),
        outcome=outcome,
    )
    return lab.ledger.append(record)


def ab(
    lab: Lab,
    workspace: Workspace,
    settings: Settings,
    *,
    pairs: int,
    fresh: bool = False,
    progress: Progress = silent,
) -> Tried:
    """Stage 5: does training gain? Looks after 3, 5 and 8 pairs, until decided or at `pairs`.

    Goes on from the pairs of an earlier look of the very same comparison, unless a `fresh` one is
    wanted. Every look leaves a record.
    """
    from lab import ab as comparison
    from lab.gate import Policy, ab_settled
    from lab.gate_ab import level
    from lab.harness import isolation
    from lab.harness.identity import trainer_sha256
    from lab.stats import LOOKS
    from lab.training_run import Task

    require_device(workspace.seal, "ab")
    folder, stored = subject(lab, workspace)
    _require_verified(lab, workspace, stored, "ab")
    task = Task(folder.id, workspace.seal.engine, stored.path, stored.sha256)
    last, done = (None, ()) if fresh else _earlier_pairs(lab, workspace, stored, settings)
    for count in LOOKS:
        if count <= len(done) or count > pairs:
            continue
        outcome = comparison.compare(task, settings, count, done=done, progress=progress)
        last = lab.ledger.append(
            Tried(
                **about(workspace, folder, stored),
                isolation=isolation(),
                incumbent_sha256=incumbent_sha256(lab, workspace.seal),
                trainer_sha256=trainer_sha256(),
                outcome=outcome,
            )
        )
        done = outcome.pairs
        attempt = level(evidence(lab, workspace, stored), Policy())
        if not isinstance(outcome, Compared) or ab_settled(outcome, attempt=attempt):
            break
    if last is None:
        raise CommandError(f"--pairs must be at least {LOOKS[0]}", f"Looks are after {LOOKS}.")
    return last


def _earlier_pairs(
    lab: Lab, workspace: Workspace, stored: Candidate, settings: Settings
) -> tuple[Tried | None, tuple[Pair, ...]]:
    from lab.harness import isolation

    tried = evidence(lab, workspace, stored).tried
    if tried is None or not isinstance(tried.outcome, Compared):
        return None, ()
    if tried.isolation != isolation():  # pairs made without a sandbox must not count as made in it
        return None, ()
    was = tried.outcome
    same = (settings.preset, settings.data, settings.eval_tokens, settings.steps)
    if (was.preset, was.data, was.eval_tokens, was.steps) != same:
        return None, ()
    return tried, tried.outcome.pairs


def _require_verified(lab: Lab, workspace: Workspace, stored: Candidate, stage: str) -> None:
    verified = evidence(lab, workspace, stored).verified
    if verified is None or not isinstance(verified.outcome, Passed):
        found = "failed" if verified else "no"
        raise CandidateError(
            f"{stage} refused: {found} verification of {stored.sha256[:12]} on this machine",
            f"Run: kernel-lab verify {workspace.name}",
        )
    same = verified.outcome.no_change_of
    if same:
        raise CandidateError(
            f"{stage} refused: no change, {stored.sha256[:12]} is the {same} called again",
            f"There is nothing to measure. Write a kernel of your own into "
            f"{workspace.candidate_file}.",
        )


def gate(lab: Lab, workspace: Workspace) -> Judged:
    """Stage 6: the verdict on the ledger's evidence for this very candidate on this machine."""
    from lab import gate as rules
    from lab.harness.identity import trainer_sha256
    from lab.replay import rules_sha256

    folder, stored = subject(lab, workspace)
    policy = rules.Policy()
    lines_read = lab.ledger.head().lines
    found = evidence(lab, workspace, stored, lines_read)
    record = Judged(
        **about(workspace, folder, stored),
        verdict=rules.judge(found, policy),
        policy=msgspec.to_builtins(policy),
        evidence=found.ids,
        lines_read=lines_read,
        incumbent_sha256=incumbent_sha256(lab, workspace.seal),
        trainer_sha256=trainer_sha256(),
        handle=found.workspace,
        rules_sha256=rules_sha256(),
    )
    return lab.ledger.append(record)
