"""Every line of the ledger as a frozen, tagged type.

A record carries what it is about by hash (candidate, harness, target), where it was made (machine)
and what was found (`lab.outcomes`), with the raw samples from which shown numbers are recomputed.

`schema` rises when a field changes meaning; old lines stay readable.
"""

from __future__ import annotations

from typing import Literal

from lab.outcomes import Broken, Compared, Failed, Frozen, Measured, Passed, Quarantined, Tier

SCHEMA = 1


class Machine(Frozen, frozen=True, kw_only=True):
    """Where a record was made. Evidence counts only on the same `hardware` and `frameworks`."""

    hardware: str
    """The key that promotions are filed under: CPU or GPU model, with the core count of a CPU."""
    system: str
    """Operating system and its release."""
    python: str
    frameworks: dict[str, str]
    """Version by framework, e.g. {"torch": "2.13.0"}; drivers count as frameworks."""
    git_commit: str = ""
    git_dirty: bool = False
    cores: int = 0
    memory_gib: float = 0.0


class Record(Frozen, frozen=True, kw_only=True, tag_field="kind"):
    """What every line has. All but `machine` is filled in by the ledger."""

    machine: Machine
    number: int = 0
    """Its place in the ledger, from 1."""
    id: str = ""
    time_utc: str = ""
    previous_sha256: str = ""
    schema: int = SCHEMA


class About(Record, frozen=True, kw_only=True):
    """A line about one candidate of one target on one engine."""

    target: str
    engine: str
    language: str
    workspace: str
    candidate_sha256: str
    harness_sha256: str
    target_sha256: str
    preset: str = ""
    """Whose training shapes the workspace has: another one's are other shapes of the same names."""


class HotOp(Frozen, frozen=True, kw_only=True):
    """One row of a profile. Times are per optimizer step; `roofline_ms` is the least possible."""

    op: str
    target: bool
    share: float
    calls: int
    time_ms: float
    forward_ms: float
    backward_ms: float
    bytes_moved: int
    flops: int
    roofline_ms: float
    ceiling_removed: float
    ceiling_roofline: float
    ablation_ms: tuple[tuple[float, float], ...] = ()
    """Steps with the op and, right after, without it (`trainer.ablation`); none if not measured."""


class Profiled(Record, frozen=True, kw_only=True, tag="profiled"):
    """The trainer's hot ops."""

    engine: str
    preset: str
    step_ms: tuple[float, ...]
    covered: float
    bandwidth_gb_s: float
    peak_gflop_s: float
    ops: tuple[HotOp, ...]
    """They add up to the step."""
    larger: tuple[HotOp, ...] = ()
    """Targets that the trainer runs in parts; their time is in the rows of the parts."""

    @property
    def targets(self) -> tuple[HotOp, ...]:
        """Every op of either kind that a candidate can replace."""
        return (*(op for op in self.ops if op.target), *self.larger)


class Opened(About, frozen=True, kw_only=True, tag="opened"):
    """A workspace was opened; `seal_sha256` is the hash of its workspace.json."""

    seal_sha256: str


class Verified(About, frozen=True, kw_only=True, tag="verified"):
    """Stage 3."""

    tier: Tier
    isolation: str
    """The sandbox in force, e.g. `namespaces+seccomp`, or `none` (lab.isolation)."""
    outcome: Passed | Failed


class Benched(About, frozen=True, kw_only=True, tag="benched"):
    """Stage 4. The incumbent is what the trainer would have run on that day."""

    tier: Tier
    isolation: str
    incumbent_sha256: str
    outcome: Measured | Quarantined | Failed


class Tried(About, frozen=True, kw_only=True, tag="tried"):
    """Stage 5, the A/B."""

    isolation: str
    incumbent_sha256: str
    trainer_sha256: str = ""
    """Of the trainer's sources: another trainer has other steps, and another val_bpb."""
    outcome: Compared | Broken


class Handicap(Frozen, frozen=True, kw_only=True):
    """A copy of the incumbent, slowed by a share of its own time (0: an exact copy, the A/A)."""

    slowed_by: float
    outcome: Measured | Quarantined | Failed | Compared | Broken


class Calibrated(Record, frozen=True, kw_only=True, tag="calibrated"):
    """What the lab sees on this machine of slow-downs that are known. The gate asks for it.

    `benches` went through the bench. `runs` went through the A/B, there slowed by a share of the
    whole step, since a share of one op would be too little to see.
    """

    engine: str
    harness_sha256: str
    target: str
    preset: str
    isolation: str
    benches: tuple[Handicap, ...]
    runs: tuple[Handicap, ...]


class Reason(Frozen, frozen=True, kw_only=True):
    """One condition of the gate: whether it holds, and the number that decided."""

    rule: str
    holds: bool
    detail: str


class Verdict(Frozen, frozen=True, kw_only=True):
    """What the gate says, and every condition that it looked at."""

    decision: Literal["promote", "hold", "reject"]
    reasons: tuple[Reason, ...]


class Judged(About, frozen=True, kw_only=True, tag="judged"):
    """Stage 6: the verdict, and all that it takes to reach it again from the ledger alone.

    See `lab.replay`. `evidence` are the ids of the records that the verdict rests on.
    """

    verdict: Verdict
    policy: dict[str, float | int | str | bool]
    evidence: tuple[str, ...]
    lines_read: int
    """The ledger had this many lines when its evidence was collected; later ones do not count."""
    incumbent_sha256: str
    """What the trainer would have run on that day; other comparisons do not count."""
    trainer_sha256: str = ""
    """Of the trainer's sources on that day; A/Bs of another one do not count."""
    handle: str
    """What commands call the workspace: the reasons name it."""
    rules_sha256: str
    """Hash of the code that judged."""


class Promoted(About, frozen=True, kw_only=True, tag="promoted"):
    """Stage 7: the candidate became the incumbent on this engine and hardware."""

    verdict_id: str
    file: str


class Demoted(Record, frozen=True, kw_only=True, tag="demoted"):
    """A promotion was taken back."""

    target: str
    engine: str
    candidate_sha256: str
    why: str


class SetAside(Record, frozen=True, kw_only=True, tag="set_aside"):
    """A torn last line was found and moved to `file`; nothing else was lost."""

    file: str
    bytes_set_aside: int


Line = (
    Profiled
    | Opened
    | Verified
    | Benched
    | Tried
    | Calibrated
    | Judged
    | Promoted
    | Demoted
    | SetAside
)
"""Any line of the ledger; the tag field is `kind`."""
