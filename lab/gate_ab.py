"""The gate's rules about stage 5, the A/B: did training steps get faster, and is val_bpb kept?

Pure functions. Only the pairs of the last complete look count (3, 5 or 8 of `stats.LOOKS`): a
seventh pair changes nothing until the eighth is there, so nobody can stop at a lucky one. Each look
spends its share of the error that the policy allows.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab import stats
from lab.evidence import Evidence
from lab.policy import Finding, Policy, then_run
from lab.records import Broken, Compared, Pair, Tried


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
    if len({pair.seed for pair in outcome.pairs}) < len(outcome.pairs):
        return Finding("open", f"two pairs share a seed; {then_run('ab', evidence)}")
    for number, pair in enumerate(outcome.pairs, start=1):
        problem = _unlike(pair, record, outcome.steps)
        if problem:
            return Finding("open", f"pair {number}: {problem}; {then_run('ab', evidence)}")
    what = f"{len(outcome.pairs)} pairs of {outcome.steps} steps of preset {outcome.preset}"
    return Finding("holds", f"{what}, A/B number {evidence.attempt} of this candidate")


def step_time(evidence: Evidence, policy: Policy) -> Finding:
    """The one-sided lower bound of the step-time ratio lies above 1."""
    outcome = _compared(evidence)
    if outcome is None:
        return Finding("open", "no training runs compared")
    finding = of_step_time(outcome.pairs, policy, evidence.attempt)
    return _with_command(finding, outcome, evidence)


def val_bpb(evidence: Evidence, policy: Policy) -> Finding:
    """The one-sided upper bound of the loss in val_bpb lies below the margin."""
    outcome = _compared(evidence)
    if outcome is None:
        return Finding("open", "no training runs compared")
    finding = of_val_bpb(outcome.pairs, policy, evidence.attempt)
    return _with_command(finding, outcome, evidence)


def of_step_time(pairs: Sequence[Pair], policy: Policy, attempt: int) -> Finding:
    """What the last complete look says of step time."""
    number = _look(pairs, policy)
    if number is None:
        return Finding("open", f"{len(pairs)} pairs decide nothing")
    counted = pairs[: stats.LOOKS[number]]
    try:
        ratios = stats.log_ratios(
            [p.incumbent.step_ms for p in counted], [p.candidate.step_ms for p in counted]
        )
        look = stats.look(ratios.tolist(), number, attempt, policy.step_alpha)
    except ValueError as error:
        return Finding("open", str(error))
    detail = (
        f"{look.speedup:.4f}x after {look.pairs} pairs, bounds {look.low:.4f} and {look.high:.4f} "
        f"at one-sided {look.alpha:.2g}; the lower must exceed 1"
    )
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


def _with_command(finding: Finding, outcome: Compared, evidence: Evidence) -> Finding:
    """Adds to an open finding how many pairs the next look takes."""
    if finding.state != "open":
        return finding
    more = [needed for needed in stats.LOOKS if needed > len(outcome.pairs)]
    command = f"ab --pairs {more[0]}" if more else "ab"
    return Finding("open", f"{finding.detail}; {then_run(command, evidence)}")


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
