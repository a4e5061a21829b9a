"""What a stage found: its outcome, with all raw samples, as a record of the ledger holds it.

The outcome decides which fields exist: a failed verification has no timings, a quarantined bench
has no speed-up to quote. Frozen and tagged; `lab.records` makes lines of them. Imports nothing of
ours.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Tier = Literal["simulated", "compiled", "device"]

FailureReason = Literal[
    "missing_function",  # the file does not define a function named like the target
    "syntax",  # the file does not parse
    "import",  # the file raises while it is imported
    "framework",  # the file is written in another framework than the engine's, and fails
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
    "metal_source",  # a Metal kernel does not compile, or uses what Metal or the simulator lacks
    "metal_launch",  # a Metal kernel was called in a way that MLX or Metal would not take
    "metal_finding",  # the simulator found an error: a race, a stray access, an endless loop
    "no_metal_kernel",  # a candidate in Metal that launches no kernel where training calls it
]


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Immutable, and strict about what it reads."""


class Outcome(Frozen, frozen=True, kw_only=True, tag_field="kind"):
    """What a stage found; the tag `kind` says which fields exist."""


class Interval(Frozen, frozen=True, kw_only=True):
    """An estimate with its two-sided confidence interval, from `samples` independent samples."""

    point: float
    low: float
    high: float
    samples: int
    confidence: float = 0.95


# ---- verify -------------------------------------------------------------------------------------


class TensorCheck(Frozen, frozen=True, kw_only=True):
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


class MetalFinding(Frozen, frozen=True, kw_only=True):
    """What the Metal simulator found in one kernel; docs/metal.md lists the kinds. `part` is the
    kernel's `source` ("body") or its `header`, `times` how often in that run."""

    kernel: str
    kind: str
    severity: Literal["error", "warning", "note"]
    message: str
    part: str = ""
    line: int = 0
    thread: tuple[int, int, int] | None = None
    times: int = 1

    def __str__(self) -> str:
        place = f"{self.part}:{self.line}: " if self.line else ""
        who = f" [thread {self.thread}]" if self.thread else ""
        return f"{self.severity}: {self.kernel}: {place}{self.kind}: {self.message}{who}"


class MetalTraffic(Frozen, frozen=True, kw_only=True):
    """What one kernel moved in its largest launch, against reading each input and writing each
    output once. The simulator counts every access to device memory, as if there were no cache."""

    kernel: str
    elements: int
    """Of its largest output."""
    bytes_moved: int
    bytes_least: int

    def __str__(self) -> str:
        moved, least = (count / self.elements for count in (self.bytes_moved, self.bytes_least))
        return f"{self.kernel}: {moved:.2f} bytes per element, {least:.2f} at least"


class Simulated(Frozen, frozen=True, kw_only=True):
    """What the Metal simulator ran, on a CPU: nothing here says that a kernel runs on Metal."""

    launches: dict[str, int]
    """By kernel."""
    runs: int
    """Of all launches together: each under one schedule or several."""
    findings: tuple[MetalFinding, ...]
    """Different ones, the first of its kind at each line."""
    traffic: tuple[MetalTraffic, ...] = ()

    def __str__(self) -> str:
        kernels = ", ".join(f"{name} {count}" for name, count in self.launches.items()) or "none"
        return (
            f"Metal simulator, on a CPU: launches of {kernels}; {self.runs} runs with all checks. "
            "Whether it runs on Metal, and how fast, is not known."
        )


class Passed(Outcome, frozen=True, kw_only=True, tag="passed"):
    """Every case, dtype, output and gradient was within its bounds."""

    checks: tuple[TensorCheck, ...]
    deterministic: bool = True
    recording: str = ""
    """sha256 of the calls recorded in training that were checked too (the cases `recorded_step_N`);
    empty if there were none."""
    no_change_of: Literal["", "incumbent", "reference"] = ""
    """What the candidate really is, called again: correct, and no candidate for a win."""
    simulated: Simulated | None = None
    """Of a candidate in Metal that was verified without Metal."""


class Failed(Outcome, frozen=True, kw_only=True, tag="failed"):
    """The first failure, and the checks up to it."""

    reason: FailureReason
    detail: str
    case: str = ""
    dtype: str = ""
    checks: tuple[TensorCheck, ...] = ()
    simulated: Simulated | None = None


# ---- bench --------------------------------------------------------------------------------------


class Telemetry(Frozen, frozen=True, kw_only=True):
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


class CaseTiming(Frozen, frozen=True, kw_only=True):
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


class Measured(Outcome, frozen=True, kw_only=True, tag="measured"):
    """The paired ratio incumbent / candidate (above 1 is faster), per case and geometric mean."""

    cases: tuple[CaseTiming, ...]
    speedup: Interval
    control: Interval


class Quarantined(Outcome, frozen=True, kw_only=True, tag="quarantined"):
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


class Arm(Frozen, frozen=True, kw_only=True):
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


class Pair(Frozen, frozen=True, kw_only=True):
    """Two runs of the same seed, taking turns or one after the other."""

    seed: int
    order: Literal["AB", "BA"]
    """Who went first; A is the incumbent. With turns the order turns over from turn to turn."""
    incumbent: Arm
    candidate: Arm
    apart: float | None = None
    """How far apart the checkpoints are, as a share of the way that the incumbent's run moved its
    tensors (trainer.apart)."""


class Compared(Outcome, frozen=True, kw_only=True, tag="compared"):
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


class Broken(Outcome, frozen=True, kw_only=True, tag="broken"):
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
