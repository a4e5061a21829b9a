"""What can go wrong in a run, with the exit code that `train.py` and `prepare.py` end with.

TrainerError
├── UsageError     2   an unknown preset, a flag out of range, a missing file
├── DataError      3   no prepared data, a damaged cache, a failed download
├── DivergedError  3   the loss became NaN or exploded
└── EngineError    3   the engine or device is not there, or an op cannot run on it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TrainerError(Exception):
    """What went wrong (`message`) and what to do about it (`hint`)."""

    exit_code = 3

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(TrainerError):
    """The command line is to blame."""

    exit_code = 2


class DataError(TrainerError):
    """The data is missing, damaged or could not be fetched."""


class DivergedError(TrainerError):
    """The loss is not finite, or far above where it began."""


class EngineError(TrainerError):
    """The engine, its device or an op is not available."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """A `UsageError` for a name that is not known, with the nearest match and the list."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    meant = f" Did you mean '{close[0]}'?" if close else ""
    return UsageError(f"unknown {kind} '{name}'.{meant}", f"Known: {', '.join(names) or 'none'}.")


OUT_OF_MEMORY = (
    "can't allocate memory",  # torch on a CPU
    "Unable to allocate",  # MLX on a CPU
    "metal::malloc",
    "Insufficient Memory",  # a command buffer of Metal's
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, told by name and words: no framework is imported to ask."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
