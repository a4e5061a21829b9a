"""The gate's rules about stages 3 and 4: is the candidate correct, and is it faster by itself?

Pure functions of evidence and policy. Intervals are recomputed from the raw block times.
"""

from __future__ import annotations

from statistics import median

from lab import bench_intervals
from lab.evidence import Evidence
from lab.outcomes import Failed, Measured, Quarantined
from lab.policy import Finding, Policy, shown, then_run


def verified(evidence: Evidence, policy: Policy) -> Finding:
    """Every checked tensor was within its bounds, at the demanded tier, recorded calls included."""
    record = evidence.verified
    if record is None:
        return Finding("open", f"not verified on this machine; {then_run('verify', evidence)}")
    if isinstance(record.outcome, Failed):
        return Finding("contradicted", _failure("verify", record.outcome))
    for check in record.outcome.checks:
        # Written so that an error that is NaN is beyond its bound.
        if not (check.max_error <= check.allowed_max and check.rms_error <= check.allowed_rms):
            return Finding(
                "contradicted",
                f"{check.case} {check.dtype} {check.tensor}: largest error {check.max_error:.3g} "
                f"(allowed {check.allowed_max:.3g}), rms {check.rms_error:.3g} "
                f"(allowed {check.allowed_rms:.3g})",
            )
    what = f"{len(record.outcome.checks)} tensors within bounds at tier '{record.tier}'"
    if record.tier == "simulated" and policy.tier != "simulated":
        missing = f"'{policy.tier}' is needed: a simulator is no GPU, and promotes nothing"
        return Finding("open", f"{what}, {missing}; on the hardware {then_run('verify', evidence)}")
    if not record.outcome.checks or record.tier != policy.tier:
        return Finding("open", f"{what}, '{policy.tier}' is needed; {then_run('verify', evidence)}")
    if not record.outcome.recording:
        missing = "none of a call that training recorded"
        return Finding("open", f"{what}, but {missing}; {then_run('verify', evidence)}")
    return Finding("holds", what)


def changed(evidence: Evidence, policy: Policy) -> Finding:
    """The candidate does something else than the incumbent or the reference called again."""
    record = evidence.verified
    if record is None or isinstance(record.outcome, Failed):
        return Finding("open", f"not verified on this machine; {then_run('verify', evidence)}")
    same = record.outcome.no_change_of
    if same:
        return Finding("contradicted", f"no change: the candidate is the {same} called again")
    return Finding("holds", "neither the incumbent nor the reference called again")


def benched(evidence: Evidence, policy: Policy) -> Finding:
    """There are times, at the demanded tier, and they can be true."""
    record = evidence.benched
    if record is None:
        return Finding("open", f"not timed on this machine; {then_run('bench', evidence)}")
    outcome = record.outcome
    if isinstance(outcome, Failed):
        return Finding("contradicted", _failure("bench", outcome))
    if isinstance(outcome, Quarantined):
        detail = f"quarantined, {outcome.reason}: {outcome.detail}"
        if outcome.by_machine:
            return Finding("open", f"{detail}; once it is quiet {then_run('bench', evidence)}")
        return Finding("contradicted", detail)
    for case in outcome.cases:
        typical_ms = median(case.candidate_ms)
        if typical_ms < case.floor_ms:
            return Finding(
                "contradicted",
                f"{case.case} {case.dtype}: {typical_ms:.4g} ms, but no correct kernel takes less "
                f"than {case.floor_ms:.4g} ms here",
            )
    what = f"{len(outcome.cases)} cases timed at tier '{record.tier}'"
    if not outcome.cases or record.tier != policy.tier:
        return Finding("open", f"{what}, '{policy.tier}' is needed; {then_run('bench', evidence)}")
    return Finding("holds", what)


def covered(evidence: Evidence, policy: Policy) -> Finding:
    """Every timed case and type was verified: speed where nothing was checked is no evidence."""
    outcome = _measured(evidence)
    if outcome is None:
        return Finding("open", "no times")
    record = evidence.verified
    checks = record.outcome.checks if record else ()
    missing = {(c.case, c.dtype) for c in outcome.cases} - {(c.case, c.dtype) for c in checks}
    if missing:
        case, dtype = sorted(missing)[0]
        return Finding(
            "open",
            f"{len(missing)} of the timed cases were not verified, {case} {dtype} for one; "
            f"{then_run('verify', evidence)}",
        )
    return Finding("holds", "every timed case was verified")


def speedup(evidence: Evidence, policy: Policy) -> Finding:
    """The geometric mean over cases: its lower bound reaches the demanded speed-up.

    Repeating a bench until it is lucky does not pay: number k may err a k-squared part as often.
    """
    outcome = _measured(evidence)
    if outcome is None:
        return Finding("open", "no times")
    number = evidence.bench_attempt
    confidence = 1 - (1 - policy.bench_confidence) / number**2
    try:
        found = bench_intervals.speedup(outcome.cases, confidence)
    except ValueError as error:
        return Finding("open", f"{error}; {then_run('bench', evidence)}")
    detail = f"{shown(found)}; the lower bound must reach {policy.bench_speedup}"
    if number > 1:
        detail += f"; bench number {number} of this candidate in seven days"
    if found.low >= policy.bench_speedup:
        return Finding("holds", detail)
    if found.high < policy.bench_speedup:
        return Finding("contradicted", detail)
    return Finding("open", f"{detail}; undecided, {then_run('bench', evidence)}")


def every_case(evidence: Evidence, policy: Policy) -> Finding:
    """No case is much slower: by its point estimate, as many bounds would fail by chance.

    Contradicted only where a case's whole interval lies below the floor.
    """
    outcome = _measured(evidence)
    if outcome is None or not outcome.cases:
        return Finding("open", "no times")
    try:
        found = [(bench_intervals.speedup([c], policy.bench_confidence), c) for c in outcome.cases]
    except ValueError as error:
        return Finding("open", f"{error}; {then_run('bench', evidence)}")
    worst, case = min(found, key=lambda one: one[0].point)
    detail = f"slowest is {case.case} {case.dtype}: {shown(worst)}; floor {policy.case_floor}"
    if worst.point >= policy.case_floor:
        return Finding("holds", detail)
    if any(interval.high < policy.case_floor for interval, _ in found):
        return Finding("contradicted", detail)
    return Finding("open", f"{detail}; undecided, {then_run('bench', evidence)}")


def control(evidence: Evidence, policy: Policy) -> Finding:
    """The incumbent against itself, in the same session, comes out as no difference."""
    outcome = _measured(evidence)
    if outcome is None:
        return Finding("open", "no times")
    try:
        found = bench_intervals.control(outcome.cases, policy.bench_confidence)
    except ValueError as error:
        return Finding("open", f"{error}; {then_run('bench', evidence)}")
    detail = f"{shown(found)}; must be within {policy.control_within:.0%} of 1"
    if abs(found.point - 1) <= policy.control_within:
        return Finding("holds", detail)
    return Finding("open", f"{detail}; once the machine is quiet {then_run('bench', evidence)}")


def _measured(evidence: Evidence) -> Measured | None:
    record = evidence.benched
    return record.outcome if record and isinstance(record.outcome, Measured) else None


def _failure(stage: str, outcome: Failed) -> str:
    where = f" in {outcome.case} {outcome.dtype}".rstrip() if outcome.case else ""
    return f"{stage} failed{where}, {outcome.reason}: {outcome.detail}"
