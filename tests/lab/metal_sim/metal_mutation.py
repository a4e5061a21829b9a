"""One planted bug: a text of a kernel replaced by another, and what must come of it.

`Mutation("barrier", "barrier dropped", *dropped("the tile"), "race", "right")`
"""

from __future__ import annotations

from dataclasses import dataclass

BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"


@dataclass(frozen=True)
class Mutation:
    """`old` is replaced by `new`. `found` is the finding that must be among those of `severity`;
    with "" there must be none but notes. `numbers` says what one ordinary run computes: "right",
    "wrong", or "none" where it does not come to its end."""

    bug: str
    name: str
    old: str
    new: str
    found: str
    numbers: str
    severity: str = "error"
    why: str = ""

    @property
    def caught_by(self) -> str:
        """An error, a warning, only a difference between schedules, only wrong numbers, nothing."""
        if self.found == "schedule_difference":
            return "schedules"
        if self.found:
            return self.severity
        return "missed" if self.numbers == "right" else "numbers"


def dropped(comment: str) -> tuple[str, str]:
    """The barrier whose comment begins so."""
    return f"{BARRIER} // {comment}", f"// {comment}"


def flagged(comment: str, flag: str) -> tuple[str, str]:
    """That barrier with another flag."""
    return f"{BARRIER} // {comment}", f"threadgroup_barrier(mem_flags::{flag}); // {comment}"


def by_simdgroup(comment: str) -> tuple[str, str]:
    """That barrier for a simdgroup only."""
    return (
        f"{BARRIER} // {comment}",
        f"simdgroup_barrier(mem_flags::mem_threadgroup); // {comment}",
    )


def load_and_store(element: str, value: str) -> str:
    """An addition in two atomic steps, between which another thread's is lost."""
    return (
        f"atomic_store_explicit(&{element}, atomic_load_explicit(&{element}, memory_order_relaxed)"
        f" + {value}, memory_order_relaxed)"
    )
