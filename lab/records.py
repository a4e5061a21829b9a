"""Every line of the ledger as a frozen, tagged type. Imports nothing of ours.

A record carries what it is about by hash (candidate, harness, target), where it was made (machine)
and the raw samples from which every shown number is recomputed. The outcome decides which fields
exist: a failed verification has no timings, a quarantined benchmark has no speed-up to quote.

`schema` rises when a field changes meaning; old lines stay readable.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA = 1

Tier = Literal["simulated", "compiled", "device"]

FailureReason = Literal[
    "missing_function",  # the file does not define a function named like the target
    "syntax",  # the file does not parse
    "import",  # the file raises while it is imported
    "raised",  # the function raised
    "arity",  # another number of outputs than the target has
    "not_a_tensor",  # an output is no plain tensor
    "shape",
    "dtype",
    "device",
    "not_finite",  # NaN or infinity where the oracle is finite
    "numeric",  # an output is further from the oracle than allowed
    "gradient_missing",  # the graph is cut, or a gradient is None
    "gradient",  # a gradient is further from the oracle than allowed
    "input_changed",  # an input's bytes differ after the call
    "stale_output",  # the same storage with new content gave the old answer
    "switches",  # it changed how the whole process computes
    "crash",  # the worker died of a signal
    "exit",  # the worker ended itself, with whatever status
    "timeout",
    "memory",
    "output_flood",  # printed more than is allowed
    "protocol",  # the worker answered what no honest worker answers
]


class _Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Immutable, and strict about what it reads."""


class _Outcome(_Frozen, frozen=True, kw_only=True, tag_field="kind"):
    """What a stage found; the tag `kind` says which fields exist."""


class Machine(_Frozen, frozen=True, kw_only=True):
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


class Interval(_Frozen, frozen=True, kw_only=True):
    """An estimate with its two-sided confidence interval, from `samples` independent samples."""

    point: float
    low: float
    high: float
    samples: int
    confidence: float = 0.95


# ---- verify -------------------------------------------------------------------------------------


class TensorCheck(_Frozen, frozen=True, kw_only=True):
    """One tensor of one case: how far from the oracle, how far it may be, how far the incumbent is.

    Errors are absolute and in the tensor's own units. `tensor` is an output's name, or `d` and an
    input's name for a gradient.
    """

    case: str
    dtype: str
    tensor: str
    max_error: float
    rms_error: float
    allowed_max: float
    allowed_rms: float
    incumbent_max: float
    incumbent_rms: float


class Passed(_Outcome, frozen=True, kw_only=True, tag="passed"):
    """Every case, dtype, output and gradient was within its bounds."""

    checks: tuple[TensorCheck, ...]
    deterministic: bool = True
    recording: str = ""
    """sha256 of the calls recorded in training that were checked too (the cases `recorded_step_N`);
    empty if there were none."""
    no_change_of: Literal["", "incumbent", "reference"] = ""
    """What the candidate really is, called again: correct, and no candidate for a win."""


class Failed(_Outcome, frozen=True, kw_only=True, tag="failed"):
    """The first failure, and the checks up to it."""

    reason: FailureReason
    detail: str
    case: str = ""
    dtype: str = ""
    checks: tuple[TensorCheck, ...] = ()


# ---- bench --------------------------------------------------------------------------------------


class Telemetry(_Frozen, frozen=True, kw_only=True):
    """What the machine was like in each round; empty where this machine does not tell."""

    others_cpu: tuple[float, ...] = ()
    """Share of all CPU time that other processes and the hypervisor took, 0 to 1."""
    stolen_cpu: tuple[float, ...] = ()
    """The hypervisor's part of that."""
    cpu_mhz: tuple[float, ...] = ()
    cpu_celsius: tuple[float, ...] = ()
    cpu_throttled: tuple[float, ...] = ()
    """How often a core was slowed for its heat."""
    gpu_mhz: tuple[float, ...] = ()
    gpu_celsius: tuple[float, ...] = ()
    gpu_watts: tuple[float, ...] = ()
    gpu_throttled: tuple[float, ...] = ()
    """1 where the GPU was slowed for heat or power, else 0."""


class CaseTiming(_Frozen, frozen=True, kw_only=True):
    """Raw block times of one case, in milliseconds per call, forward and backward together.

    The three arms run in interleaved blocks: block i of each arm belongs together, and
    `generation[i]` numbers the fresh workers that it ran on; empty: the same ones throughout.
    `control` is a second worker with the incumbent, the A/A of this very session. `floor_ms` is
    the speed of light: no correct kernel is faster on this machine.
    """

    case: str
    dtype: str
    calls_per_block: int
    incumbent_ms: tuple[float, ...]
    candidate_ms: tuple[float, ...]
    control_ms: tuple[float, ...]
    floor_ms: float
    speedup: Interval
    generation: tuple[int, ...] = ()
    telemetry: Telemetry = Telemetry()


class Measured(_Outcome, frozen=True, kw_only=True, tag="measured"):
    """The paired ratio incumbent / candidate (above 1 is faster), per case and geometric mean."""

    cases: tuple[CaseTiming, ...]
    speedup: Interval
    control: Interval


class Quarantined(_Outcome, frozen=True, kw_only=True, tag="quarantined"):
    """Timings that cannot be true (faster than light, clocks that disagree, wrong timed outputs),
    or from which nothing follows, as the machine was too noisy."""

    reason: Literal[
        "faster_than_light",
        "clock_mismatch",
        "timed_output_wrong",
        "control_failed",  # the incumbent differs from itself
        "too_noisy",  # neither a gain worth promoting nor none can be told
    ]
    detail: str
    cases: tuple[CaseTiming, ...] = ()

    @property
    def by_machine(self) -> bool:
        """Whether it says nothing about the candidate: another try may end otherwise."""
        return self.reason in ("control_failed", "too_noisy")


# ---- A/B ----------------------------------------------------------------------------------------


class Arm(_Frozen, frozen=True, kw_only=True):
    """One training run: the judge's wall clock per step, and val_bpb from a clean process."""

    step_ms: float
    """Judge's clock over all turns, divided by the number of steps."""
    wall_s: float
    """From spawning the process to its end, by the judge's clock."""
    steps: int
    val_bpb: float
    ops: dict[str, str]
    """sha256 of every op that the run says it used; the A/B checks the one under test."""
    turn_ms: tuple[float, ...] = ()
    """Judge's clock of each turn; turn i of both arms is the same steps. One: it took no turns."""


class Pair(_Frozen, frozen=True, kw_only=True):
    """Two runs of the same seed, taking turns or one after the other."""

    seed: int
    order: Literal["AB", "BA"]
    """Who went first; A is the incumbent. With turns the order turns over from turn to turn."""
    incumbent: Arm
    candidate: Arm
    apart: float | None = None
    """How far apart the checkpoints are, as a share of the way that the incumbent's run moved its
    tensors (trainer.apart)."""


class Compared(_Outcome, frozen=True, kw_only=True, tag="compared"):
    """Paired runs. `speedup`: incumbent / candidate step time. `val_bpb`: candidate - incumbent."""

    preset: str
    data: str
    eval_tokens: str
    steps: int
    pairs: tuple[Pair, ...]
    speedup: Interval
    val_bpb: Interval
    inside: tuple[TensorCheck, ...] = ()
    """What the candidate computed inside a training run, at secret steps, against the oracle."""


class Broken(_Outcome, frozen=True, kw_only=True, tag="broken"):
    """The A/B could not be completed, through the candidate's doing."""

    reason: Literal[
        "arm_failed",  # crashed, hung, said steps it did not do, or left another model's checkpoint
        "wrong_op",  # it did not run the op that it should have
        "diverged",  # NaN or infinity in what it trained, or in its val_bpb
        "clock_mismatch",  # it worked outside of its turns
        "behaves_differently",  # inside the trainer the op computes something else
        "not_evaluated",  # the clean evaluation failed on its checkpoint, not on the incumbent's
        "trained_differently",  # its weights or moments end further apart than rounding explains
    ]
    detail: str
    pairs: tuple[Pair, ...] = ()


# ---- the lines ----------------------------------------------------------------------------------


class Record(_Frozen, frozen=True, kw_only=True, tag_field="kind"):
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


class HotOp(_Frozen, frozen=True, kw_only=True):
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
    outcome: Compared | Broken


class Handicap(_Frozen, frozen=True, kw_only=True):
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


class Reason(_Frozen, frozen=True, kw_only=True):
    """One condition of the gate: whether it holds, and the number that decided."""

    rule: str
    holds: bool
    detail: str


class Verdict(_Frozen, frozen=True, kw_only=True):
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
