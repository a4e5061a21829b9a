"""Records made by hand, for the tests of the ledger and the gate. Nothing here was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lab.outcomes import (
    Arm,
    CaseTiming,
    Compared,
    Failed,
    Interval,
    Measured,
    Pair,
    Passed,
    TensorCheck,
)
from lab.records import Benched, Calibrated, Handicap, Machine, Opened, Tried, Verified

CANDIDATE, INCUMBENT, HARNESS, TARGET = ("c" * 64, "1" * 64, "a" * 64, "7" * 64)
MACHINE = Machine(hardware="CPU x2", system="Linux", python="3.12.0", frameworks={"torch": "2"})
ABOUT: dict[str, Any] = {
    "machine": MACHINE,
    "target": "rmsnorm",
    "engine": "cpu",
    "language": "torch",
    "workspace": "rmsnorm-cpu-torch-0001",
    "candidate_sha256": CANDIDATE,
    "harness_sha256": HARNESS,
    "target_sha256": TARGET,
}
WANTED: dict[str, Any] = {
    "candidate_sha256": CANDIDATE,
    "harness_sha256": HARNESS,
    "target_sha256": TARGET,
    "engine": "cpu",
    "hardware": MACHINE.hardware,
    "frameworks": MACHINE.frameworks,
}
UNUSED = Interval(point=1.0, low=1.0, high=1.0, samples=2)
"""Where a record must hold an interval that the gate never reads."""
CASES = ("tour", "m5-tiny", "m5-small")


def opened(**changes: Any) -> Opened:
    """A line that needs little."""
    return Opened(**{**ABOUT, "seal_sha256": "5" * 64, **changes})


def check(case: str, error: float = 0.5) -> TensorCheck:
    """One tensor; an `error` above 1 is beyond its bound."""
    return TensorCheck(
        case=case,
        dtype="float32",
        tensor="y",
        max_error=error,
        rms_error=error,
        allowed_max=1.0,
        allowed_rms=1.0,
        incumbent_max=0.5,
        incumbent_rms=0.5,
    )


def passed(*cases: str) -> Passed:
    """Every one of these cases within its bounds, and calls recorded in training among them."""
    return Passed(checks=tuple(check(case) for case in cases), recording="4" * 64)


def verified(outcome: Passed | Failed | None = None, **changes: Any) -> Verified:
    """A passed verification of every case, unless told otherwise."""
    outcome = outcome or passed(*CASES)
    return Verified(
        **{
            **ABOUT,
            "tier": "device",
            "isolation": "namespaces",
            "outcome": outcome,
            **changes,
        }
    )


def timing(
    case: str,
    incumbent_ms: Sequence[float],
    candidate_ms: Sequence[float],
    control_ms: Sequence[float],
    floor_ms: float = 0.0,
) -> CaseTiming:
    """One case from its raw block times."""
    return CaseTiming(
        case=case,
        dtype="float32",
        calls_per_block=10,
        incumbent_ms=tuple(incumbent_ms),
        candidate_ms=tuple(candidate_ms),
        control_ms=tuple(control_ms),
        floor_ms=floor_ms,
        speedup=UNUSED,
    )


WIGGLE = (0.99, 1.01, 1.0, 1.005, 0.995, 1.002, 0.998, 1.001, 0.999, 1.003)
"""Ten blocks' worth of noise of about half a percent."""


def steady(case: str, speedup: float = 1.3, control: float = 1.0) -> CaseTiming:
    """A case with mild noise, whose true ratios are `speedup` and `control`."""
    incumbent = [2.0 * w for w in WIGGLE]
    candidate = [2.0 / speedup * w for w in reversed(WIGGLE)]
    return timing(case, incumbent, candidate, [2.0 / control * w for w in WIGGLE[3:] + WIGGLE[:3]])


def benched(outcome: Any = None, cases: Sequence[CaseTiming] = (), **changes: Any) -> Benched:
    """A bench with a clear gain in every case, unless told otherwise."""
    if outcome is None:
        cases = cases or [steady(case) for case in CASES]
        outcome = Measured(cases=tuple(cases), speedup=UNUSED, control=UNUSED)
    defaults = {"tier": "device", "isolation": "namespaces", "incumbent_sha256": INCUMBENT}
    return Benched(**{**ABOUT, **defaults, "outcome": outcome, **changes})


def arm(step_ms: float, val_bpb: float, op_sha256: str, steps: int = 20) -> Arm:
    """One training run."""
    ops = {"rmsnorm": op_sha256, "relu_squared": "2" * 64}
    return Arm(step_ms=step_ms, wall_s=9.0, steps=steps, val_bpb=val_bpb, ops=ops)


def pair(number: int, speedup: float = 1.1, bpb_change: float = 0.0) -> Pair:
    """Pair `number` of an A/B, with that ratio of step times and that change of val_bpb."""
    return Pair(
        seed=1000 + number,
        order="AB" if number % 2 == 0 else "BA",
        incumbent=arm(100.0, 2.0 + number / 100, INCUMBENT),
        candidate=arm(100.0 / speedup, 2.0 + number / 100 + bpb_change, CANDIDATE),
    )


def compared(pairs: Sequence[Pair]) -> Compared:
    """An A/B of these pairs."""
    return Compared(
        preset="tour",
        data="stdlib",
        eval_tokens="cheap",
        steps=20,
        pairs=tuple(pairs),
        speedup=UNUSED,
        val_bpb=UNUSED,
    )


def pairs(
    count: int = 5, speedup: float = 1.1, bpb_change: float = 0.0, spread: float = 1.0
) -> list[Pair]:
    """Pairs with noise of about half a percent in step time and 0.0002 in val_bpb."""
    wiggles = [(w - 1.0) * spread for w in WIGGLE[:count]]
    return [
        pair(number, speedup * (1 + wiggle), bpb_change + wiggle * 0.04)
        for number, wiggle in enumerate(wiggles)
    ]


def tried(outcome: Any = None, **changes: Any) -> Tried:
    """An A/B with a clear gain and val_bpb kept, unless told otherwise."""
    defaults = {"isolation": "namespaces", "incumbent_sha256": INCUMBENT}
    return Tried(**{**ABOUT, **defaults, "outcome": outcome or compared(pairs()), **changes})


def calibrated(
    found: Sequence[tuple[float, float]] = ((0.0, 1.0), (0.05, 1 / 1.05), (0.1, 1 / 1.1)),
    runs: Sequence[Handicap] = (),
    **changes: Any,
) -> Calibrated:
    """A calibration with these (handicap, speed-up found); one that does, unless told otherwise."""
    benches = tuple(
        Handicap(
            slowed_by=slowed_by,
            outcome=Measured(cases=(steady("tour", speedup),), speedup=UNUSED, control=UNUSED),
        )
        for slowed_by, speedup in found
    )
    defaults: dict[str, Any] = {name: ABOUT[name] for name in ("machine", "engine", "target")}
    defaults |= {"harness_sha256": HARNESS, "preset": "tour", "isolation": "none"}
    return Calibrated(**{**defaults, "benches": benches, "runs": tuple(runs), **changes})


def with_ids(lines: Sequence[Any]) -> list[Any]:
    """The lines with ids as a ledger would number them."""
    return [msgspec.structs.replace(line, id=f"{n:026x}") for n, line in enumerate(lines)]
