"""How far from the oracle a tensor may be: derived per case and tensor, never typed in.

An implementation's error has three honest sources, and the bound on each element is their sum.

1. Rounding of the result to its dtype, and of a few intermediates: in proportion to the element.
   ROUNDING spacings of the dtype; one rounding costs half a spacing, so 2 allow four of them.
2. The order of the additions, in float32: in proportion to the element, and (where a sum cancels)
   to the typical element of its row. A naive float32 sum of 8192 terms is off by about
   sqrt(8192) / 2 = 45 half spacings; trees and blocks do better. ACCUMULATION allows 64 spacings of
   the element, and half as many of the row's root mean square.
3. Everything particular to the case (cancellation, conditioning, the precision that training uses
   inside): FACTOR times the largest error of the incumbent in the same row, on the same input, as
   far as 1 does not explain it.

The root mean square of the error over the tensor is bounded too, by the incumbent's own times
FACTOR_RMS. It catches a loss of precision that is small everywhere.

Why this tells right from wrong: computing float32 in TF32 or bfloat16 costs 2000 to 16000 float32
spacings, far above 64. Zeros, constants and copies are off by the whole element. Nothing is
absolute, so tiny gradients are held to the same standard. A wrong row cannot hide behind large
elements elsewhere, since each row is measured by itself. What does pass: being up to FACTOR times
less accurate than the incumbent is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.harness.inputs import torch_dtype

if TYPE_CHECKING:
    import torch

ROUNDING = 2.0
ROUNDING_RMS = 0.25
"""One rounding to nearest has a root mean square of at most 0.29 spacings, and 0.2 on average."""
ACCUMULATION = 64.0
FLOAT32_SPACING = 2.0**-23
FACTOR = 4.0
"""The largest of a row's errors varies between honest implementations; by simulation with normal
errors of equal size and rows of 32 or more, it exceeds 3 times the other's in fewer than 1 of 10^6
rows."""
FACTOR_RMS = 3.0
SHORTEST_ROW = 32
"""Shorter rows say too little about their own error; the whole tensor is then one row."""


@dataclass(frozen=True)
class Bounds:
    """For one tensor on one input: the oracle and what may differ from it."""

    oracle: torch.Tensor
    dtype: str
    allowed: torch.Tensor
    allowed_rms: float
    typical: float
    """Root mean square of the oracle."""
    incumbent_max: float
    incumbent_rms: float
    unexplained: float
    """The incumbent's largest error beyond the rounding of its result."""


@dataclass(frozen=True)
class Distance:
    """How far one tensor is from the oracle, at the element that is worst against its bound."""

    ok: bool
    excess: float
    """The larger of error / allowed by element and by root mean square; above 1 is wrong."""
    max_error: float
    allowed_max: float
    rms_error: float
    allowed_rms: float
    typical: float
    """Root mean square of the oracle."""
    index: tuple[int, ...]
    actual: float
    expected: float


def bounds(oracle: torch.Tensor, incumbent: torch.Tensor, dtype: str) -> Bounds:
    """The bounds on a tensor of `dtype`, from the incumbent's own result on the same input."""
    import torch

    spacing = torch.finfo(torch_dtype(dtype)).eps
    counted = representable(oracle, dtype)
    size = torch.where(counted, oracle.abs(), 0.0)
    error = (incumbent.double() - oracle).abs()
    error = torch.where(counted & incumbent.isfinite(), error, 0.0)
    unexplained = (error - ROUNDING * spacing * size).clamp_min(0.0)
    allowed = (ROUNDING * spacing + ACCUMULATION * FLOAT32_SPACING) * size
    allowed = allowed + ACCUMULATION / 2 * FLOAT32_SPACING * _by_row(size, _rms)
    allowed = allowed + FACTOR * _by_row(unexplained, _largest)
    # One step of the subnormal numbers, where rounding is no longer in proportion.
    allowed = allowed + torch.finfo(torch_dtype(dtype)).smallest_normal * spacing
    incumbent_rms = float(_rms(error.flatten()))
    typical = float(_rms(size.flatten()))
    accumulation = ACCUMULATION / 2 * FLOAT32_SPACING
    return Bounds(
        oracle=oracle,
        dtype=dtype,
        allowed=allowed,
        allowed_rms=FACTOR_RMS * incumbent_rms + (ROUNDING_RMS * spacing + accumulation) * typical,
        typical=typical,
        incumbent_max=float(error.max()),
        incumbent_rms=incumbent_rms,
        unexplained=float(unexplained.max()),
    )


def representable(oracle: torch.Tensor, dtype: str) -> torch.Tensor:
    """Where the oracle is a finite number of `dtype`; elsewhere an overflow is right."""
    import torch

    return oracle.abs() <= torch.finfo(torch_dtype(dtype)).max


def not_finite(actual: torch.Tensor, within: Bounds) -> tuple[int, ...] | None:
    """The first place where `actual` is NaN or infinite and the oracle is not."""
    wrong = representable(within.oracle, within.dtype) & ~actual.isfinite()
    return _place(wrong.int(), wrong) if bool(wrong.any()) else None


def distance(actual: torch.Tensor, within: Bounds, slack: float = 1.0) -> Distance:
    """Compares a tensor with the oracle; `slack` multiplies the bounds.

    Where the oracle overflows the dtype, only the very same infinity or NaN is right.
    """
    import torch

    counted = representable(within.oracle, within.dtype)
    value = actual.double()
    error = torch.where(counted, (value - within.oracle).abs(), 0.0)
    error = torch.where(error.isnan(), torch.inf, error)
    overflow = within.oracle.to(torch_dtype(within.dtype)).double()
    same = (value == overflow) | (value.isnan() & overflow.isnan())
    error = torch.where(counted | same, error, torch.inf)
    ratio = error / (slack * within.allowed)
    index = _place(ratio, None)
    rms = float(_rms(error.flatten()))
    allowed_rms = slack * within.allowed_rms
    by_rms = rms / allowed_rms if allowed_rms > 0 else (torch.inf if rms > 0 else 0.0)
    excess = max(float(ratio[index]), by_rms)
    return Distance(
        ok=excess <= 1.0,
        excess=excess,
        max_error=float(error[index]),
        allowed_max=float(slack * within.allowed[index]),
        rms_error=rms,
        allowed_rms=allowed_rms,
        typical=within.typical,
        index=index,
        actual=float(value[index]),
        expected=float(within.oracle[index]),
    )


@dataclass(frozen=True)
class Agreement:
    """How near another implementation's result must be to the incumbent's, without an oracle.

    Learned from bounds on inputs of the same kind. Twice as wide, since both may be off.
    """

    dtype: str
    unexplained: float
    allowed_rms: float

    SLACK = 2.0

    @classmethod
    def like(cls, within: Bounds, before: Agreement | None = None) -> Agreement:
        """From bounds, and no narrower than before."""
        unexplained, allowed_rms = within.unexplained, within.allowed_rms
        if before is not None:
            unexplained = max(unexplained, before.unexplained)
            allowed_rms = max(allowed_rms, before.allowed_rms)
        return cls(within.dtype, unexplained, allowed_rms)

    def broken(self, candidate: torch.Tensor, incumbent: torch.Tensor) -> tuple[int, ...] | None:
        """Where two stacks of results [slots, *shape] disagree most clearly, or None."""
        import torch

        spacing = torch.finfo(torch_dtype(self.dtype)).eps
        ours, theirs = candidate.float(), incumbent.float()
        size = torch.where(theirs.isfinite(), theirs.abs(), 0.0)
        allowed = (ROUNDING * spacing + ACCUMULATION * FLOAT32_SPACING) * size
        rows = size if size.shape[-1] >= SHORTEST_ROW else size.reshape(size.shape[0], -1)
        typical = ACCUMULATION / 2 * FLOAT32_SPACING * _rms(rows).unsqueeze(-1)
        allowed += typical if rows is size else typical.reshape(-1, *[1] * (size.ndim - 1))
        allowed += FACTOR * self.unexplained + torch.finfo(torch.float32).smallest_normal
        error = (ours - theirs).abs()
        error = torch.where((ours == theirs) | (ours.isnan() & theirs.isnan()), 0.0, error)
        wrong = ~(error <= self.SLACK * allowed)
        if bool(wrong.any()):
            return _place(wrong, wrong)
        rms = _rms(error.reshape(error.shape[0], -1))
        beyond = rms > self.SLACK * self.allowed_rms
        return (int(beyond.int().argmax()),) if bool(beyond.any()) else None


def _place(values: torch.Tensor, where: torch.Tensor | None) -> tuple[int, ...]:
    import torch

    flat = int((values if where is None else where.int()).flatten().argmax())
    return tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), values.shape))


def _rms(values: torch.Tensor) -> torch.Tensor:
    """Root mean square over the last axis; scaled first, so that tiny numbers do not underflow."""
    import torch

    largest = values.abs().amax(-1, keepdim=True)
    largest = torch.where(largest > 0, largest, 1.0)
    return ((values / largest).square().mean(-1, keepdim=True).sqrt() * largest).squeeze(-1)


def _largest(values: torch.Tensor) -> torch.Tensor:
    return values.amax(-1)


def _by_row(
    values: torch.Tensor, statistic: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """A statistic of each row, in a shape that broadcasts against `values`."""
    if values.ndim == 0 or values.shape[-1] < SHORTEST_ROW:
        return statistic(values.reshape(-1))
    return statistic(values).unsqueeze(-1)
