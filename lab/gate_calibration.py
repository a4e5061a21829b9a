"""The gate's rule about the machine itself: does the lab see here what is there to see?

Pure. `kernel-lab calibrate-noise` sends copies of the incumbent through bench and A/B: an exact one
(the A/A), and ones slowed by known shares. Before anything is promoted on a machine, the exact copy
must have come out as no difference and the slowed ones as slower. Everything is judged anew from
the raw samples in the `calibrated` record.
"""

from __future__ import annotations

from lab import bench_intervals, paired, stats
from lab.evidence import Evidence
from lab.outcomes import Compared, Interval, Measured
from lab.policy import Finding, Policy, shown
from lab.records import Calibrated, Handicap


def calibrated(evidence: Evidence, policy: Policy) -> Finding:
    """This machine, with this engine and harness, tells a copy from one slowed by 5 and 10%."""
    engine = f"--engine {evidence.records[-1].engine} " if evidence.records else ""
    command = f"run: kernel-lab {engine}calibrate-noise"
    record = evidence.calibrated
    if record is None:
        return Finding("open", f"this machine, engine and harness were not calibrated; {command}")
    problem = trouble(record, policy)
    if problem:
        return Finding("open", f"{problem}; once the machine is quiet {command}")
    return Finding("holds", summary(record))


def trouble(record: Calibrated, policy: Policy | None = None) -> str:
    """Why a calibration does not do; empty if it does."""
    policy = policy or Policy()
    copy = [one for one in record.benches if one.slowed_by == 0]
    slowed = [one for one in record.benches if one.slowed_by >= policy.handicap_found]
    if not copy or len(slowed) < 2 or min(s.slowed_by for s in slowed) > policy.handicap_found:
        return "the calibration holds no A/A, or not the handicaps that are needed"
    same = bench_interval(copy[0])
    if same is None:
        return f"the A/A of the bench came to nothing: {_why(copy[0])}"
    if not abs(same.point - 1) <= policy.control_within:
        return f"the bench found a difference in an exact copy: {shown(same)}"
    for one in slowed:
        if not found_slower(one):
            return f"the bench did not find a copy slowed by {one.slowed_by:.0%}: {_why(one)}"
    return _trouble_in_training(record)


def _trouble_in_training(record: Calibrated) -> str:
    """The A/A of the A/B: broken, or a difference where there is none."""
    for one in record.runs:
        if one.slowed_by == 0:
            if not isinstance(one.outcome, Compared):
                return f"the A/A of training came to nothing: {_why(one)}"
            if found_in_training(one) in ("faster", "slower"):
                return f"the A/B found an exact copy {found_in_training(one)}"
    return ""


def bench_interval(handicap: Handicap) -> Interval | None:
    """The ratio incumbent / copy from the raw block times; None where nothing was measured."""
    outcome = handicap.outcome
    if not isinstance(outcome, Measured):
        return None
    try:
        return bench_intervals.speedup(outcome.cases)
    except ValueError:
        return None


def found_slower(handicap: Handicap) -> bool:
    """Whether the bench found it: the whole 95% interval lies below 1."""
    interval = bench_interval(handicap)
    return interval is not None and interval.high < 1


def found_in_training(handicap: Handicap) -> str:
    """What the last look of the A/B says: faster, slower, undecided, or nothing."""
    outcome = handicap.outcome
    number = stats.look_number(len(outcome.pairs)) if isinstance(outcome, Compared) else None
    if number is None or not isinstance(outcome, Compared):
        return "nothing"
    counted = outcome.pairs[: stats.LOOKS[number]]
    return stats.look(paired.log_speedups(counted), number).decision


def summary(record: Calibrated) -> str:
    """The bench's side of a calibration in one line."""
    parts = []
    for one in record.benches:
        interval = bench_interval(one)
        name = f"slowed by {one.slowed_by:.0%}" if one.slowed_by else "exact copy"
        parts.append(f"{name} {shown(interval)}" if interval else f"{name}: {_why(one)}")
    return f"calibrated with {record.target}: " + ", ".join(parts)


def state(record: Calibrated | None) -> tuple[bool, str]:
    """Whether a machine counts as calibrated, and since when or why not."""
    if record is None:
        return False, "none of this engine, machine and harness: the gate promotes nothing"
    problem = trouble(record)
    if problem:
        return False, f"of {record.time_utc[:10]}: {problem}"
    return True, f"of {record.time_utc[:10]}, with {record.target}"


def _why(handicap: Handicap) -> str:
    interval = bench_interval(handicap)
    if interval is not None:
        return shown(interval)
    outcome = handicap.outcome
    if isinstance(outcome, Measured | Compared):
        return "its times carry no interval"
    return f"{outcome.reason}: {outcome.detail}"
