"""What to do next in one workspace: a stage, its command and why, read from the ledger.

    step = next_step(lab, workspace)
    step = advance(lab, workspace)      the same after what the lab can do by itself

For `lab.orchestrate` and its commands. Decides nothing: the evidence is in the ledger.
"""

from __future__ import annotations

import msgspec

from lab import stages
from lab import workspace as workspaces
from lab.context import Lab, evidence, handle, latest_profile
from lab.errors import LabError
from lab.evidence import Evidence
from lab.isolation import forgone
from lab.outcomes import Broken, Failed, Quarantined
from lab.progress import Progress, silent
from lab.records import Benched, Profiled
from lab.simulated import elsewhere
from lab.workspace import Workspace


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


def next_step(lab: Lab, workspace: Workspace) -> Step:
    """Reads the evidence for the workspace's present candidate and says what comes next."""
    seal = workspace.seal
    try:
        _, stored = stages.subject(lab, workspace)
    except LabError as error:
        stage, command, why = "edit", error.hint, error.message
    else:
        stage, command, why = _next(lab, workspace, stored)
    share, ceiling = hot(latest_profile(lab, seal.engine), seal.target)
    return Step(
        target=seal.target,
        workspace=workspace.name,
        folder=str(workspace.folder),
        stage=stage,
        command=command,
        why=why,
        share=share,
        ceiling=ceiling,
    )


def advance(lab: Lab, workspace: Workspace, progress: Progress = silent) -> Step:
    """Runs verify and bench as far as they pass, each once, then says the next step.

    A machine that is too noisy would be benched without end.
    """
    done: set[str] = set()
    step = next_step(lab, workspace)
    while step.stage in {"verify", "bench"} - done:
        (stages.verify if step.stage == "verify" else stages.bench)(lab, workspace, progress)
        done.add(step.stage)
        step = next_step(lab, workspace)
    return step


def hot(profiled: Profiled | None, target: str) -> tuple[float | None, float | None]:
    """A target's share of the step and its ceiling, where a profile tells."""
    for op in profiled.targets if profiled else ():
        if op.op == target:
            return op.share, op.ceiling_roofline
    return None, None


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
        if stage == "device":
            file = str(workspace.candidate_file)
            return stage, f"on a Mac: {elsewhere(workspace.seal.target, file)}", why
        return stage, edit if stage == "edit" else f"kernel-lab {stage} {name}", why
    verdict = judge(found, Policy())
    unmet = "; ".join(r.rule for r in verdict.reasons if not r.holds)
    if verdict.decision == "promote":
        return "promote", f"kernel-lab promote {name}", "the gate lets it in"
    if verdict.decision == "reject":
        return "edit", edit, f"rejected: {unmet}"
    return _undecided(name, workspace, found, unmet)


def _before_a_verdict(found: Evidence) -> tuple[str, str] | None:
    """The stage without which no verdict says anything, and why; "edit" is the author's, and for
    "device" this machine lacks the hardware."""
    from lab.gate_sandbox import unconfined

    verified, benched, tried = found.verified, found.benched, found.tried
    if verified is None:
        return "verify", "this candidate was not verified here yet"
    if isinstance(verified.outcome, Failed):
        return "edit", f"verify: {verified.outcome.reason}"
    if verified.outcome.no_change_of:
        return "edit", f"verify: no change, the {verified.outcome.no_change_of} called again"
    if benched is None and verified.tier == "simulated":
        return "device", "verified in the simulator; what is left needs Metal"
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


_AGAIN = {
    "verify": "verify",
    "bench_verified": "verify",
    **dict.fromkeys(("bench", "bench_control", "bench_speedup", "bench_cases"), "bench"),
}
"""The stage that may hold the next time, by the first rule that is open."""


def _undecided(
    name: str, workspace: Workspace, found: Evidence, unmet: str
) -> tuple[str, str, str]:
    from lab.gate_ab import may_be_confirmed
    from lab.policy import Policy
    from lab.stats import LOOKS

    if unmet == "calibrated":
        command = f"kernel-lab --engine {workspace.seal.engine} calibrate-noise"
        return "calibrate", command, "all else holds"
    again = _AGAIN.get(unmet.partition(";")[0])
    if again:
        return again, f"kernel-lab {again} {name}", f"undecided: {unmet}"
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
