"""How often a target was tried in a week: what makes the gate demand more of the tenth try.

    attempts = Attempts()
    key = attempts.add(line)          # every A/B of one target, engine and hardware, in order
    attempts.number(key)              # 1 for the first in seven days, 2 for the next ...

An A/B counts from its first record on, whatever candidate it was for, whatever came of it, and also
where it broke off; later looks of the same A/B are the same attempt. Time is what the records say:
seven days back from the record under judgement, no clock is asked. Order is the ledger's. A record
that stands before it and claims a later time, as after a clock jumped back, counts as recent.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lab.records import Tried

WINDOW = timedelta(days=7)

Key = tuple[object, ...]


class Attempts:
    """The A/Bs begun on one target, engine and hardware, in the order of the ledger."""

    def __init__(self) -> None:
        self._begun: dict[Key, str] = {}

    def add(self, line: Tried) -> Key:
        """Counts the A/B of `line`, unless this is a later look of it; returns what tells it."""
        key = _identity(line) or ("broke off at once", len(self._begun))
        self._begun.setdefault(key, line.time_utc)
        return key

    def number(self, key: Key) -> int:
        """Which attempt of its seven days it was, counted from 1."""
        at = self._begun[key]
        order = list(self._begun)
        before = order[: order.index(key)]
        return 1 + sum(within_window(self._begun[other], at) for other in before)


def within_window(earlier_utc: str, later_utc: str) -> bool:
    """Whether two ISO times lie at most seven days apart; what cannot be read counts as near."""
    try:
        return datetime.fromisoformat(later_utc) - datetime.fromisoformat(earlier_utc) <= WINDOW
    except (ValueError, TypeError):
        return True


def _identity(line: Tried) -> Key:
    """Tells one A/B from another: later looks of the same A/B have the same first pair."""
    if not line.outcome.pairs:
        return ()
    first = line.outcome.pairs[0]
    return (line.candidate_sha256, first.seed, first.incumbent.step_ms, first.candidate.step_ms)
