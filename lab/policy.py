"""What the gate demands (`Policy`), and what one of its rules finds (`Finding`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from lab.evidence import Evidence
from lab.outcomes import Interval, Tier


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Fixed before anything is measured, and recorded with every verdict."""

    tier: Tier = "device"
    """The tier that verification and bench must have."""
    bench_speedup: float = 1.02
    """The lower bound of the bench's geometric mean must reach this: two worker processes running
    the same file may differ by a percent for no reason that is in the file."""
    bench_confidence: float = 0.95
    """Two-sided: the lower bound is missed 2.5% of the time. That is for a candidate's first bench;
    the error of bench number k in seven days is a k-squared part of it."""
    case_floor: float = 0.97
    """No timed case's point estimate may lie below this."""
    control_within: float = 0.02
    """The incumbent against itself, in the bench's own session, may be off by this much."""
    step_alpha: float = 0.01
    """One-sided error of the claim that training steps are faster: all looks of all A/Bs on one
    target in seven days together."""
    bpb_margin: float = 0.002
    """Bits per byte by which the candidate's val_bpb may be worse."""
    bpb_alpha: float = 0.05
    """One-sided error of the claim that it is not worse than that, shared out in the same way."""
    handicap_found: float = 0.05
    """The calibration must have found every copy slowed by this much or more, two at least."""
    minimum_pairs: int = 3
    """Fewer pairs of training runs decide nothing."""
    least_steps: int = 20
    """Of each training run; in fewer, nothing is decided either. Before the first and after the
    last step a run may use half a second of CPU time more than the incumbent's (`lab.audit`), in
    which a small model does several steps; of a run of one step no call is looked at."""
    least_eval_tokens: int = 16_384
    """Of each evaluation: a difference of 0.002 bits per byte on a single row says little."""


class Finding(NamedTuple):
    """What a rule finds: it holds, it is contradicted by evidence, or it is still open."""

    state: Literal["holds", "open", "contradicted"]
    detail: str


Rule = Callable[[Evidence, Policy], Finding]


def then_run(command: str, evidence: Evidence) -> str:
    """The command that would bring what is missing, for the workspace of the evidence."""
    recorded = evidence.records[-1].workspace if evidence.records else "WORKSPACE"
    verb, _, rest = command.partition(" ")
    return f"run: kernel-lab {verb} {evidence.workspace or recorded} {rest}".rstrip()


def shown(interval: Interval) -> str:
    """A ratio with its interval, for people."""
    return (
        f"{interval.point:.3f}x ({100 * interval.confidence:.4g}% interval {interval.low:.3f} to "
        f"{interval.high:.3f}, {interval.samples} samples)"
    )
