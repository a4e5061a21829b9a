"""What a failure means, in one line each, for whoever has to mend the candidate.

Only wording: nothing here decides. The numbers name the place and the distance, never a seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.harness.tolerances import Distance


def too_far(name: str, distance: Distance, dtype: str) -> str:
    """An output or gradient beyond its bounds."""
    place = ", ".join(map(str, distance.index))
    return (
        f"{name} is {distance.excess:.3g} times further from the oracle than allowed: "
        f"at [{place}] it is {distance.actual:.7g}, right is {distance.expected:.7g}, "
        f"allowed are {distance.allowed_max:.2g} apart; "
        f"root mean square error {distance.rms_error:.2g}, allowed {distance.allowed_rms:.2g}. "
        f"{_usually(distance, dtype)}"
    )


def _usually(distance: Distance, dtype: str) -> str:
    relative = distance.rms_error / distance.typical if distance.typical > 0 else float("inf")
    if relative > 0.5:
        return "Usually another formula, or part of the tensor was not computed."
    if distance.rms_error <= distance.allowed_rms / 4:
        return "The rest is right, so look at the edges: masks, last block, ignored rows, overflow."
    if dtype == "float32" and relative < 0.02:
        return "Usually bfloat16 or TF32 arithmetic inside a float32 op."
    if dtype != "float32" and relative < 0.05:
        return f"Usually intermediate results kept in {dtype}: compute in float32, round once."
    return "Usually a wrong constant, a missing term, or a sum that leaves something out."


def not_finite(name: str, place: tuple[int, ...]) -> str:
    """NaN or infinity where the oracle is finite."""
    at = ", ".join(map(str, place))
    return (
        f"{name} is not finite at [{at}], where the oracle is. Usually an overflow (square, exp), "
        "a read beyond an input (poisoned with NaN), or an output left unwritten."
    )


def stale(name: str) -> str:
    """The answer to an earlier call."""
    return (
        f"{name} is, bit for bit, the right answer to another call: the storage was the same, the "
        "content new. Usually a cache, or one buffer returned by every call."
    )


def input_changed(name: str, offset: int) -> str:
    """An input was written to."""
    return (
        f"{name} differs after the call (from byte {offset} after its first element, gaps and the "
        "surroundings count). Usually an in-place operation, or a write beyond the end."
    )


def input_touched(name: str, offset: int) -> str:
    """An input was written to and put back."""
    return (
        f"{name} differs between the forward and the backward (from byte {offset} after its first "
        "element), when training still reads it, and is as before in the end. An input is no "
        "memory to borrow."
    )


def input_moved(name: str) -> str:
    """An input's shape, strides or storage were changed."""
    return (
        f"{name} has another shape, other strides or other storage after the call. Usually an "
        "in-place operation on the tensor itself: resize_, set_, t_, unsqueeze_, or .data = ..."
    )


def gradient_missing(name: str) -> str:
    """The graph is cut."""
    return (
        f"{name} is missing: the outputs do not depend on it for autograd. Usually detach, no_grad "
        "or .data in the forward pass, or an autograd.Function that returns None."
    )
