"""The error tree: three blames, three exit codes, each message with its fix.

    LabError
    ├── CandidateError   1   your candidate: wrong, slow, cheating, crashed
    ├── CommandError     2   your command: unknown name, missing file, edited seal
    └── MachineError     3   the lab or machine: no sandbox, full disk, damaged ledger, too noisy

`kernel-lab` prints the message and the hint, and exits with the code. Anything else that escapes
is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LabError(Exception):
    """What went wrong (`message`) and what to do about it (`hint`)."""

    exit_code = 3

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CandidateError(LabError):
    """The candidate is to blame."""

    exit_code = 1


class CommandError(LabError):
    """The command line is to blame."""

    exit_code = 2


class MachineError(LabError):
    """The machine, or the lab itself, is to blame."""

    exit_code = 3


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> CommandError:
    """A `CommandError` for a name that is not known, with the nearest match and the list."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    meant = f" Did you mean '{close[0]}'?" if close else ""
    listed = ", ".join(names) if names else "none"
    return CommandError(f"unknown {kind} '{name}'.{meant}", hint or f"Known: {listed}.")
