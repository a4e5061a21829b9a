"""What a bug planted into a candidate in Metal is; metal_mutants.py has the list."""

from __future__ import annotations

from dataclasses import dataclass

BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
WITHIN = "simdgroup_barrier(mem_flags::mem_threadgroup);"


@dataclass(frozen=True)
class Mutant:
    """The candidate's file with one text replaced by another.

    `found` is a finding that must be among those of `severity`; with "" there must be none but
    notes. `numbers` says whether one ordinary run stays within verify's bounds: "right", "wrong",
    or "none" where a kernel does not come to its end.
    """

    name: str
    old: str
    new: str
    found: str
    numbers: str
    severity: str = "error"
    why: str = ""

    @property
    def caught_by(self) -> str:
        """An error, a warning, only wrong numbers, nothing."""
        if self.found:
            return self.severity
        return "missed" if self.numbers == "right" else "numbers"
