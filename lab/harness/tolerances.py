"""How far from the oracle a tensor may be: derived per case and tensor, never typed in.

An implementation's error has three honest sources, and the bound on each element is their sum.

1. Rounding of the result to its dtype, and of a few intermediates: in proportion to the element.
   ROUNDING spacings of the dtype; one rounding costs half a spacing, so 2 allow four of them.
2. The order of the additions, in float32: in proportion to the element, and (where a sum cancels)
   to the typical element of its row. A naive float32 sum of 8192 terms is off by about
   sqrt(8192) / 2 = 45 half spacings; trees and blocks do better. ACCUMULATION allows 64 spacings of
   the element, and half as many of the row's root mean square.
3. Everything particular to the case (cancellation, conditioning, the precision that training uses
   inside): FACTOR times the incumbent's own error in the same row on the same input. That is the
   largest of its errors as far as 1 does not explain them, but no less than its mean error, nor
   than what is typical of the tensor: the incumbent may have been lucky in one row.

The incumbent may have been lucky on this very input: its error in a nearly singular direction is
one draw. And its algorithm may be kinder than another that the field uses: a softmax's gradient is
p (dp - sum(p dp)) here and p (dp - sum(dy y)) in every kernel that streams over the keys; only in
the first do the roundings cancel. Before a candidate is refused, the incumbent is therefore asked
again on inputs a rounding away, with the peers that the target's reference names, and SECOND_LOOK
times the widest of all these bounds counts (`widest`).

The root mean square of the error over the tensor is bounded too, by the incumbent's own times
FACTOR_RMS. It catches a loss of precision that is small everywhere.

Why this tells right from wrong: one rounding to TF32 costs up to 4096 float32 spacings, one to
bfloat16 up to 32768. Zeros, constants and copies are off by the whole element. Nothing is absolute,
so tiny gradients are held to the same standard. A wrong row cannot hide behind large elements
elsewhere, since each row is measured by itself; nor can the small elements of a row (a softmax's
gradient away from the target) hide behind its few large ones, whose errors hardly move the mean.

What passes: being up to FACTOR times less accurate than the incumbent, and a sum of thousands of
positive terms with TF32 inputs, whose errors average out to what float32 itself may lose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
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
"""The largest of a row's errors varies between honest implementations. For rows of 32 normal errors
of equal size it exceeds 3 times the other's in 2 of 10^5 rows and 4 times in fewer than 1 of 10^6,
by simulation."""
FACTOR_RMS = 3.0
SECOND_LOOK = 1.5
"""The second look's bounds are so much wider than the widest found. Without it, one in 108
verifications of the honest Muon candidate was refused, at 1.08 times its bounds (outliers)."""
TYPICAL_LARGEST = 3.0
"""The largest of a row's errors in units of their root mean square: 2.2 on average for 32 normal
errors, 4.0 for 8192."""
SHORTEST_ROW = 32
"""Shorter rows say too little about their own error; the whole tensor is then one row."""


@dataclass(frozen=True)
class Bounds:
    """For one tensor on one input: the oracle and what may differ from it."""

    oracle: torch.Tensor
    dtype: str
    counted: torch.Tensor
    """Where the oracle is a finite number of the dtype; elsewhere an overflow is right."""
    allowed: torch.Tensor
    allowed_rms: float
    typical: float
    """Root mean square of the oracle."""
    incumbent_max: float
    incumbent_rms: float
    incumbent_own: float
    """What counts as the incumbent's own error in the row where that is largest."""


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
    """The bounds on a tensor of `dtype`, from the incumbent's own result on the same input.

    Works in place where it can: these tensors are the largest that the judge handles.
    """
    import torch

    kind = torch.finfo(torch_dtype(dtype))
    size = oracle.abs()
    counted = size <= kind.max
    error = (incumbent.double() - oracle).abs_()
    if not bool(counted.all()):
        size = torch.where(counted, size, 0.0)
        error = torch.where(counted, error, 0.0)
    if not _all_finite(error):
        error = torch.where(error.isfinite(), error, 0.0)
    typical, incumbent_rms = float(_rms(size.flatten())), float(_rms(error.flatten()))
    incumbent_max = float(error.max())
    accumulation = ACCUMULATION * FLOAT32_SPACING
    by_row = accumulation / 2 * _by_row(size, _rms)
    mean = _by_row(error, _mean)
    unexplained = error.sub_(size, alpha=ROUNDING * kind.eps).clamp_min_(0.0)
    typical_largest = TYPICAL_LARGEST * float(_rms(unexplained.flatten()))
    largest = _by_row(unexplained, _largest).clamp_min(typical_largest)
    own = torch.maximum(largest, mean)
    by_row = by_row + FACTOR * own
    # One step of the subnormal numbers, where rounding is no longer in proportion.
    by_row = by_row + kind.smallest_normal * kind.eps
    return Bounds(
        oracle=oracle,
        dtype=dtype,
        counted=counted,
        allowed=size.mul_(ROUNDING * kind.eps + accumulation).add_(by_row),
        allowed_rms=FACTOR_RMS * incumbent_rms
        + (ROUNDING_RMS * kind.eps + accumulation / 2) * typical,
        typical=typical,
        incumbent_max=incumbent_max,
        incumbent_rms=incumbent_rms,
        incumbent_own=float(own.max()),
    )


def widest(within: Bounds, near: Iterable[Bounds]) -> Bounds:
    """`within`, but SECOND_LOOK times as wide as the widest of it and those of neighbours."""
    for other in near:
        within = replace(
            within,
            allowed=within.allowed.maximum(other.allowed),
            allowed_rms=max(within.allowed_rms, other.allowed_rms),
            incumbent_own=max(within.incumbent_own, other.incumbent_own),
        )
    return replace(
        within,
        allowed=within.allowed * SECOND_LOOK,
        allowed_rms=within.allowed_rms * SECOND_LOOK,
    )


def not_finite(actual: torch.Tensor, within: Bounds) -> tuple[int, ...] | None:
    """The first place where `actual` is NaN or infinite and the oracle is not."""
    if _all_finite(actual):
        return None
    wrong = within.counted & ~actual.isfinite()
    return _place(wrong.int()) if bool(wrong.any()) else None


def distance(actual: torch.Tensor, within: Bounds) -> Distance:
    """Compares a tensor with the oracle.

    Where the oracle overflows the dtype, only the very same infinity or NaN is right.
    """
    import torch

    error = (actual.double() - within.oracle).abs_()
    if not (_all_finite(error) and bool(within.counted.all())):
        overflow = within.oracle.to(actual.dtype)
        same = (actual == overflow) | (actual.isnan() & overflow.isnan())
        error = torch.where(within.counted, error, torch.where(same, 0.0, torch.inf))
        error = torch.where(error.isnan(), torch.inf, error)
    index = _place(error / within.allowed)
    rms = float(_rms(error.flatten()))
    max_error, allowed_max = float(error[index]), float(within.allowed[index])
    excess = max(max_error / allowed_max, _ratio(rms, within.allowed_rms))
    return Distance(
        ok=excess <= 1.0,
        excess=excess,
        max_error=max_error,
        allowed_max=allowed_max,
        rms_error=rms,
        allowed_rms=within.allowed_rms,
        typical=within.typical,
        index=index,
        actual=float(actual[index]),
        expected=float(within.oracle[index]),
    )


@dataclass(frozen=True)
class Agreement:
    """How near another implementation's result must be to the incumbent's, without an oracle.

    Learned from bounds on inputs of the same kind. Twice as wide, since both may be off.
    """

    dtype: str
    incumbent_own: float
    allowed_rms: float

    SLACK = 2.0

    @classmethod
    def like(cls, within: Bounds, before: Agreement | None = None) -> Agreement:
        """From bounds, and no narrower than before."""
        own, allowed_rms = within.incumbent_own, within.allowed_rms
        if before is not None:
            own = max(own, before.incumbent_own)
            allowed_rms = max(allowed_rms, before.allowed_rms)
        return cls(within.dtype, own, allowed_rms)

    def holds(self, candidate: torch.Tensor, incumbent: torch.Tensor) -> bool:
        """Whether two results on the same input agree."""
        import torch

        spacing = torch.finfo(torch_dtype(self.dtype)).eps
        theirs = incumbent.float()
        size = theirs.abs()
        if not _all_finite(size):
            size = torch.where(size.isfinite(), size, 0.0)
        allowed = ACCUMULATION / 2 * FLOAT32_SPACING * _by_row(size, _rms)
        allowed = allowed + FACTOR * self.incumbent_own + torch.finfo(torch.float32).tiny
        allowed = size * (ROUNDING * spacing + ACCUMULATION * FLOAT32_SPACING) + allowed
        error = (candidate.float() - theirs).abs_()
        wrong = ~(error <= self.SLACK * allowed)  # NaN is wrong
        if not bool(wrong.any()):
            return float(_rms(error.flatten())) <= self.SLACK * self.allowed_rms
        same = (candidate == incumbent) | (candidate.isnan() & incumbent.isnan())
        return not bool((wrong & ~same).any())


def _all_finite(values: torch.Tensor) -> bool:
    """Whether there is neither NaN nor infinity; several times faster than isfinite().all()."""
    low, high = values.aminmax()
    return bool(low.isfinite()) and bool(high.isfinite())


def _place(values: torch.Tensor) -> tuple[int, ...]:
    """Where the largest value is, the first of several."""
    import numpy as np

    # torch.unravel_index imports sympy when it is first called: half a second.
    flat = int(values.flatten().argmax())
    return tuple(int(i) for i in np.unravel_index(flat, tuple(values.shape)))


def _rms(values: torch.Tensor) -> torch.Tensor:
    """Root mean square over the last axis. In float64 no square of a float32 underflows."""
    import torch

    norm = torch.linalg.vector_norm(values, dim=-1, dtype=torch.float64)
    return norm / values.shape[-1] ** 0.5


def _largest(values: torch.Tensor) -> torch.Tensor:
    return values.amax(-1)


def _mean(values: torch.Tensor) -> torch.Tensor:
    return values.mean(-1)


def _ratio(value: float, allowed: float) -> float:
    if value == 0.0:
        return 0.0
    return value / allowed if allowed > 0.0 else float("inf")


def _by_row(
    values: torch.Tensor, statistic: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """A statistic of each row, in a shape that broadcasts against `values`."""
    if values.ndim == 0 or values.shape[-1] < SHORTEST_ROW:
        return statistic(values.reshape(-1))
    return statistic(values).unsqueeze(-1)
