"""Stage 6, the gate: evidence and policy in, verdict out. Pure: no file, no clock, no chance.

    verdict = judge(collect(ledger.read(), candidate_sha256=..., ...))

`judge` looks at every rule of `RULES` and reports them all, in order:

- `promote`: every rule holds;
- `reject`: a rule is contradicted, that is, the evidence shows the candidate wrong, slower, harmful
  or impossibly fast, or all looks of the A/B are spent without a gain;
- `hold`: neither; something is missing or undecided, and its reason names the next command.

Every number is recomputed from the raw samples in the records. How often the gate errs, with the
simulation that says so, and what it cannot know, is in docs/gate.md.
"""

from __future__ import annotations

from typing import Literal

from lab import gate_ab, gate_bench, gate_calibration, gate_sandbox
from lab.evidence import Evidence, collect
from lab.outcomes import Compared
from lab.policy import Policy, Rule
from lab.records import Reason, Verdict

__all__ = ["RULES", "Evidence", "Policy", "ab_settled", "collect", "judge"]

RULES: dict[str, Rule] = {
    "verify": gate_bench.verified,
    "change": gate_bench.changed,
    "bench": gate_bench.benched,
    "bench_verified": gate_bench.covered,
    "bench_control": gate_bench.control,
    "bench_speedup": gate_bench.speedup,
    "bench_cases": gate_bench.every_case,
    "ab": gate_ab.arms,
    "ab_step_time": gate_ab.step_time,
    "ab_val_bpb": gate_ab.val_bpb,
    "calibrated": gate_calibration.calibrated,
    "sandbox": gate_sandbox.confined,
}
"""Every condition of a promotion, by the name it has in a verdict."""


def judge(evidence: Evidence, policy: Policy | None = None) -> Verdict:
    """The verdict on `evidence`, with a reason for every rule."""
    policy = policy or Policy()
    found = {name: rule(evidence, policy) for name, rule in RULES.items()}
    states = {finding.state for finding in found.values()}
    decision: Literal["promote", "hold", "reject"] = "hold"
    if "contradicted" in states:
        decision = "reject"
    elif states == {"holds"}:
        decision = "promote"
    reasons = (
        Reason(rule=name, holds=finding.state == "holds", detail=finding.detail)
        for name, finding in found.items()
    )
    return Verdict(decision=decision, reasons=tuple(reasons))


def ab_settled(outcome: Compared, policy: Policy | None = None, attempt: int = 1) -> bool:
    """Whether an A/B may stop after a look: step time and val_bpb hold, or one is contradicted.

    Always true after the last look. `attempt` is the A/B's `gate_ab.level`.
    """
    policy = policy or Policy()
    states = {
        gate_ab.of_step_time(outcome.pairs, policy, attempt).state,
        gate_ab.of_val_bpb(outcome.pairs, policy, attempt).state,
    }
    return "contradicted" in states or states == {"holds"}
