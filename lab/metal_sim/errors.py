"""What can be wrong with a kernel before it runs, and what this machine may lack."""

from __future__ import annotations

from dataclasses import dataclass

from lab.errors import CandidateError, MachineError


class BadLaunch(CandidateError):
    """The arguments of the kernel or of its call are not ones that MLX or Metal would take."""


@dataclass(frozen=True)
class Diagnostic:
    """One complaint about the source. `part` is "body" (the kernel's `source`), "header" or
    "signature" (what MLX generates); line and column count from 1 in it, 0 where unknown."""

    part: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.part}:{self.line}:{self.column}" if self.line else self.part
        return f"{place}: {self.message}"


class KernelError(CandidateError):
    """The source does not compile, or uses what Metal or the simulator does not have."""

    def __init__(self, name: str, diagnostics: tuple[Diagnostic, ...]) -> None:
        told = "\n".join(f"  {diagnostic}" for diagnostic in diagnostics)
        super().__init__(
            f"Metal kernel '{name}' does not compile:\n{told}",
            "Lines count in the kernel's own source and header. docs/metal.md lists what the "
            "simulator does not cover.",
        )
        self.diagnostics = diagnostics


class Unavailable(MachineError):
    """No simulator here: nothing was checked, and nothing may be taken as passed."""
