"""What the training runs of an A/B are worth: their checkpoints, held against one another.

    pairs, stopped = score(trained, engine, settings, scratch)

The runs of a pair have the same seed and the same batches, so their weights and moments end apart
by rounding, multiplied by training. That is what says that the candidate's run did the work it was
timed for: fewer steps, other data, another optimizer or another model's weights end further apart,
and nothing cheaper than the training leads to the same place. Whether the ops computed well enough
is said by val_bpb alone, from a clean process (`lab.evaluation`).

Does not run or stop any training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab import checkpoints
from lab.errors import MachineError
from lab.evaluation import Found, NotEvaluated, evaluate
from lab.outcomes import Arm, Pair
from lab.training_run import Run, Settings
from lab.turns import Order

APART_PER_STEP = {"float32": 0.01}
APART_PER_STEP_NARROW = 0.04
"""How far apart two runs may end for each step (`trainer.apart`), by the type of the activations.
An rmsnorm that differs by rounding, in runs of the preset `tour`: 0.01 to 0.04 with 20 steps, 0.05
to 0.09 with 40, 0.2 to 0.33 with 100; in bfloat16 0.35 with 20. A run that left out its last step,
whose rate is almost zero: 0.43 with 20 and 0.45 with 40; any other was further."""
LEAST_STEPS = 4
"""The bound is no smaller than that of so many."""
ALL_OF_ITS_WAY = 1.0
"""From here on rounding alone may lead elsewhere, and nothing can be told."""

Reason = Literal[
    "arm_failed",
    "wrong_op",
    "diverged",
    "clock_mismatch",
    "behaves_differently",
    "not_evaluated",
    "trained_differently",
]
SMALL_VALUES = (
    "the op returned them, or a gradient that explodes. Check it for rows of zeros and for large "
    "values, where a division or an exponential overflows"
)
ONLY_THE_OP = (
    "leave the trainer as it is: its data, steps, optimizer and checkpoint. Change only what the "
    "op computes, and that within rounding"
)


class Stopped(Exception):
    """The comparison cannot go on, through the candidate's doing."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Trained:
    """Both runs of a pair, not evaluated yet."""

    seed: int
    order: Order
    incumbent: Run
    candidate: Run


def score(
    trained: Sequence[Trained], engine: str, settings: Settings, scratch: Path
) -> tuple[tuple[Pair, ...], Stopped | None]:
    """The pairs with their val_bpb, and what is wrong with the first that cannot have one.

    Raises `MachineError` where the incumbent's checkpoints cannot be evaluated.
    """
    whole, forged = _with_own_checkpoints(trained)
    if not whole:
        return (), forged
    ours, theirs = [t.incumbent.folder for t in whole], [t.candidate.folder for t in whole]
    try:
        incumbents = evaluate(ours, engine, settings, scratch)
    except NotEvaluated as failure:
        raise MachineError(
            f"the clean evaluation of the incumbent's checkpoints failed: {failure}",
            "Nothing was recorded. Run train.py by itself to see whether it evaluates.",
        ) from failure
    try:
        candidates = evaluate(theirs, engine, settings, scratch, beside=ours)
    except NotEvaluated as failure:  # the incumbent's went through just now
        what = f"the clean evaluation failed on its checkpoint, not on the incumbent's: {failure}"
        return (), forged or Stopped("not_evaluated", f"{what}; {ONLY_THE_OP}")
    pairs, stopped = [], forged
    for one, incumbent, candidate in zip(whole, incumbents, candidates, strict=True):
        found = _trouble(candidate, settings.steps)
        if found is None:
            pairs.append(_pair(one, settings, incumbent, candidate))
        stopped = stopped or found
    return tuple(pairs), stopped


def _with_own_checkpoints(
    trained: Sequence[Trained],
) -> tuple[Sequence[Trained], Stopped | None]:
    """The pairs whose checkpoints can be evaluated, and what is wrong with the first other one."""
    whole, forged = [], None
    for one in trained:
        folders = [run.folder / "checkpoint" for run in (one.incumbent, one.candidate)]
        found = checkpoints.trouble(*folders)
        if found is None:
            whole.append(one)
        else:
            forged = forged or Stopped("arm_failed", found)
    return whole, forged


def limit(compute_dtype: str, steps: int) -> float:
    """How far apart rounding may lead two runs; infinite where it may lead anywhere."""
    share = APART_PER_STEP.get(compute_dtype, APART_PER_STEP_NARROW) * max(steps, LEAST_STEPS)
    return share if share <= ALL_OF_ITS_WAY else math.inf


def _trouble(candidate: Found, steps: int) -> Stopped | None:
    """Why a candidate's checkpoint counts for nothing."""
    if candidate.not_finite:
        names = ", ".join(candidate.not_finite[:3])
        more = len(candidate.not_finite) - 3
        return Stopped(
            "diverged",
            f"NaN or infinity in {names}{f' and {more} more tensors' if more > 0 else ''} of its "
            f"checkpoint: {SMALL_VALUES}",
        )
    if not math.isfinite(candidate.val_bpb):
        what = f"val_bpb of its checkpoint is {candidate.val_bpb}"
        return Stopped("diverged", f"{what}: {SMALL_VALUES}")
    allowed = limit(candidate.compute_dtype, steps)
    if not candidate.apart <= allowed:
        return Stopped(
            "trained_differently",
            f"{candidate.tensor} of its checkpoint lies {candidate.apart:.2f} of its way from the "
            f"incumbent's of the same seed, where rounding explains {allowed:.2f}: {ONLY_THE_OP}",
        )
    return None


def _pair(one: Trained, settings: Settings, incumbent: Found, candidate: Found) -> Pair:
    def arm(run: Run, val_bpb: float) -> Arm:
        return Arm(
            step_ms=sum(run.turn_ms) / settings.steps,
            turn_ms=run.turn_ms,
            wall_s=run.wall_s,
            steps=settings.steps,
            val_bpb=val_bpb,
            ops=run.ops,
        )

    return Pair(
        seed=one.seed,
        order=one.order,
        incumbent=arm(one.incumbent, incumbent.val_bpb),
        candidate=arm(one.candidate, candidate.val_bpb),
        apart=candidate.apart,
    )
