"""The gate's rules about stage 5, the A/B: did training steps get faster, and is val_bpb kept?

Pure functions. Only the pairs of the last complete look count (3, 5 or 8 of `stats.LOOKS`): a
seventh pair changes nothing until the eighth is there, so nobody can stop at a lucky one. Each A/B
spends its share of the error that the policy allows for all A/Bs on the target in seven days, and
each look a part of that. A later A/B that would do for a first one is not rejected for being late:
one fresh A/B of the same candidate may confirm it, and is judged as a first (`level`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from lab import paired, stats
from lab.evidence import Evidence
from lab.outcomes import Broken, Compared, Pair
from lab.policy import Finding, Policy, then_run
from lab.records import Tried


def arms(evidence: Evidence, policy: Policy) -> Finding:
    """Each pair differs in the op under test and in nothing else."""
    record = evidence.tried
    if record is None:
        return Finding("open", f"no training runs compared; {then_run('ab', evidence)}")
    if isinstance(record.outcome, Broken):
        detail = f"the A/B broke off, {record.outcome.reason}: {record.outcome.detail}"
        if record.outcome.reason == "wrong_op":  # then the candidate was not tried at all
            return Finding("open", f"{detail}; {then_run('ab', evidence)}")
        return Finding("contradicted", detail)
    outcome = record.outcome
    problem = _unfit(record, outcome, policy)
    if problem:
        return Finding("open", f"{problem}; {then_run('ab', evidence)}")
    what = f"{len(outcome.pairs)} pairs of {outcome.steps} steps of preset {outcome.preset}"
    return Finding("holds", f"{what}; {_number(evidence, policy)}")


def step_time(evidence: Evidence, policy: Policy) -> Finding:
    """The one-sided lower bound of the step-time ratio lies above 1."""
    outcome = _compared(evidence)
    if outcome is None:
        return Finding("open", "no training runs compared")
    finding = of_step_time(outcome.pairs, policy, level(evidence, policy))
    return _with_command(finding, outcome, evidence, policy)


def val_bpb(evidence: Evidence, policy: Policy) -> Finding:
    """The one-sided upper bound of the loss in val_bpb lies below the margin."""
    outcome = _compared(evidence)
    if outcome is None:
        return Finding("open", "no training runs compared")
    finding = of_val_bpb(outcome.pairs, policy, level(evidence, policy))
    return _with_command(finding, outcome, evidence, policy)


def level(evidence: Evidence, policy: Policy) -> int:
    """The number of the attempt whose share of the error this A/B may spend.

    Its own, or 1 where it confirms: where this candidate's A/B before it, on other seeds, would
    have done for a first one.
    """
    return 1 if _confirms(evidence, policy) else evidence.attempt


def _confirms(evidence: Evidence, policy: Policy) -> bool:
    before, now = evidence.before, evidence.tried
    if before is None or now is None or not _would_do(before, policy, 1):
        return False
    seeds = {pair.seed for pair in before.outcome.pairs}
    return seeds.isdisjoint(pair.seed for pair in now.outcome.pairs)


def _would_do(record: Tried, policy: Policy, attempt: int) -> bool:
    """Whether this A/B by itself would satisfy the gate, if that were its number on its target."""
    outcome = record.outcome
    return (
        isinstance(outcome, Compared)
        and not _unfit(record, outcome, policy)
        and of_step_time(outcome.pairs, policy, attempt).state == "holds"
        and of_val_bpb(outcome.pairs, policy, attempt).state == "holds"
    )


def may_be_confirmed(evidence: Evidence, policy: Policy) -> bool:
    """Whether all looks are spent without the gain that its number asks for, but a first's."""
    tried, number = evidence.tried, level(evidence, policy)
    return (
        tried is not None
        and len(tried.outcome.pairs) >= stats.LOOKS[-1]
        and _would_do(tried, policy, 1)
        and not _would_do(tried, policy, number)
    )


def _number(evidence: Evidence, policy: Policy) -> str:
    """Which A/B this is, and what it may spend."""
    share = stats.attempt_share(level(evidence, policy))
    what = f"A/B number {evidence.attempt} on this target in seven days"
    if _confirms(evidence, policy):
        what += ", confirms the one before"
    return f"{what}, may spend {share:.2g} of the error"


def of_step_time(pairs: Sequence[Pair], policy: Policy, attempt: int) -> Finding:
    """What the last complete look says of step time."""
    number = _look(pairs, policy)
    if number is None:
        return Finding("open", f"{len(pairs)} pairs decide nothing")
    counted = pairs[: stats.LOOKS[number]]
    try:
        look = stats.look(paired.log_speedups(counted), number, attempt, policy.step_alpha)
        whole = math.exp(statistics.fmean(paired.whole_log_speedups(counted)))
    except ValueError as error:
        return Finding("open", str(error))
    detail = (
        f"{look.speedup:.4f}x after {look.pairs} pairs, bounds {look.low:.4f} and {look.high:.4f} "
        f"at one-sided {look.alpha:.2g}; the lower must exceed 1"
    )
    if look.decision == "faster" and whole <= 1:  # what was trimmed may be the candidate's doing
        return _undecided(f"{detail}; but {whole:.4f}x with no turn left out", number)
    if look.decision == "faster":
        return Finding("holds", detail)
    if look.decision == "slower":
        return Finding("contradicted", detail)
    return _undecided(detail, number)


def of_val_bpb(pairs: Sequence[Pair], policy: Policy, attempt: int) -> Finding:
    """What the last complete look says of val_bpb: superior, not inferior, inferior, undecided."""
    number = _look(pairs, policy)
    if number is None:
        return Finding("open", f"{len(pairs)} pairs decide nothing")
    differences = [p.candidate.val_bpb - p.incumbent.val_bpb for p in pairs[: stats.LOOKS[number]]]
    alpha = stats.spend(policy.bpb_alpha, number, attempt)
    try:
        mean, low, high = stats.mean_bounds(differences, alpha)
    except ValueError as error:
        return Finding("open", str(error))
    detail = (
        f"{mean:+.5f} bits per byte over {len(differences)} pairs, bounds {low:+.5f} and "
        f"{high:+.5f} at one-sided {alpha:.2g}; the upper must be below {policy.bpb_margin:+}"
    )
    if high < policy.bpb_margin:
        return Finding("holds", detail + ("; superior" if high < 0 else ""))
    if low > policy.bpb_margin:
        return Finding("contradicted", detail)
    return _undecided(detail, number)


def _undecided(detail: str, number: int) -> Finding:
    """More pairs may decide, unless this was the last look."""
    if number == len(stats.LOOKS) - 1:
        return Finding("contradicted", f"{detail}; all looks are spent")
    return Finding("open", f"{detail}; undecided")


def _look(pairs: Sequence[Pair], policy: Policy) -> int | None:
    """The last complete look, if it has the pairs that the policy demands."""
    number = stats.look_number(len(pairs))
    if number is None or stats.LOOKS[number] < policy.minimum_pairs:
        return None
    return number


def _with_command(
    finding: Finding, outcome: Compared, evidence: Evidence, policy: Policy
) -> Finding:
    """Adds to an open finding how many pairs the next look takes.

    An A/B whose looks are spent, but which would do for a first, is open too: it can be confirmed.
    """
    if finding.state == "contradicted" and may_be_confirmed(evidence, policy):
        detail = f"{finding.detail}, but it would do for a first A/B: confirm it"
        return Finding("open", f"{detail}, {then_run('ab --fresh', evidence)}")
    if finding.state != "open":
        return finding
    more = [needed for needed in stats.LOOKS if needed > len(outcome.pairs)]
    command = f"ab --pairs {more[0]}" if more else "ab"
    return Finding("open", f"{finding.detail}; {then_run(command, evidence)}")


def _unfit(record: Tried, outcome: Compared, policy: Policy) -> str:
    """Why the pairs of an A/B prove nothing; empty if they do."""
    if record.preset not in ("", outcome.preset):
        return (
            f"preset {outcome.preset} was trained, and the workspace is of preset {record.preset}"
        )
    if outcome.steps < policy.least_steps:
        return f"{outcome.steps} steps are too few, at least {policy.least_steps} are needed"
    if not _enough_text(outcome.eval_tokens, policy.least_eval_tokens):
        return (
            f"val_bpb over {outcome.eval_tokens} tokens says too little, "
            f"{policy.least_eval_tokens} are needed"
        )
    if len({pair.seed for pair in outcome.pairs}) < len(outcome.pairs):
        return "two pairs share a seed"
    for number, pair in enumerate(outcome.pairs, start=1):
        problem = _unlike(pair, record, outcome.steps)
        if problem:
            return f"pair {number}: {problem}"
    return ""


def _enough_text(eval_tokens: str, least: int) -> bool:
    """Whether a rung of evaluation has so many tokens; every named one has."""
    return not eval_tokens.isdigit() or int(eval_tokens) >= least


def _unlike(pair: Pair, record: Tried, steps: int) -> str:
    """How a pair differs in more than the op under test; empty if it does not."""
    if not pair.incumbent.steps == pair.candidate.steps == steps:
        return f"{pair.incumbent.steps} and {pair.candidate.steps} steps, not {steps}"
    expected = {**pair.incumbent.ops, record.target: record.candidate_sha256}
    if pair.incumbent.ops.get(record.target) != record.incumbent_sha256:
        return f"the incumbent's arm did not run {record.target} {record.incumbent_sha256[:12]}"
    if pair.candidate.ops != expected:
        return f"the candidate's arm did not differ in {record.target} alone"
    return ""


def _compared(evidence: Evidence) -> Compared | None:
    record = evidence.tried
    return record.outcome if record and isinstance(record.outcome, Compared) else None
