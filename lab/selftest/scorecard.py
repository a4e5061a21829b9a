"""The answer of a self-test: every trial, the counts by category, and what the clocks found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

from lab.outcomes import Interval
from lab.selftest.corpus import FAIR
from lab.selftest.trials import Trial

HEADINGS = (
    *("category", "tried", "as expected", "another reason", "missed", "falsely rejected"),
    "not run",
)


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of the incumbent through bench: its true slow-down, and what was found."""

    slowed_percent: int
    """0 is the A/A."""
    met: str
    """`measured`, or why there is no interval."""
    speedup: Interval | None
    verdict: Literal["no difference", "slower", "FASTER", "not found", "not run"]


class Scorecard(msgspec.Struct, frozen=True, kw_only=True):
    """What was tried, with which harness, and how it ended."""

    harness_sha256: str
    hardware: str
    isolation: str
    seconds: float
    trials: tuple[Trial, ...]
    timed: tuple[Timed, ...]

    @property
    def works(self) -> bool:
        """Whether every attack ended as expected, every honest one passed, and no A/A won."""
        ends = all(t.end in ("as expected", "not run") for t in self.trials)
        return ends and all(one.verdict != "FASTER" for one in self.timed)

    @property
    def unexpected(self) -> tuple[Trial, ...]:
        """The trials that did not end as they should, known holes included."""
        return tuple(t for t in self.trials if t.end not in ("as expected", "not run"))

    def rows(self) -> list[list[str]]:
        """One row of counts per category, under HEADINGS; a sum over the attacks at the end."""
        categories = list(dict.fromkeys(trial.category for trial in self.trials))
        rows = [
            [category, *_counts([t for t in self.trials if t.category == category])]
            for category in categories
        ]
        attacks = [t for t in self.trials if t.category not in FAIR]
        return [*rows, ["all attacks", *_counts(attacks)]]

    def markdown(self) -> str:
        """The page's generated part: docs/self-test.md holds it."""
        lines = [
            f"Harness `{self.harness_sha256[:12]}`, {self.hardware}, sandbox `{self.isolation}`, "
            f"{self.seconds:.0f} s.",
            "",
            *_table(HEADINGS, self.rows()),
        ]
        if self.unexpected:
            lines += ["", *_table(("not as expected", "expected", "met", "known"), self.holes())]
        if self.timed:
            headings = ("copy of the incumbent, slowed by", "found")
            lines += ["", *_table(headings, self.clocks())]
        return "\n".join(lines) + "\n"

    def file(self, suffix: str) -> bytes:
        """The scorecard as a file of that kind: Markdown for `.md`, else JSON."""
        if suffix == ".md":
            return self.markdown().encode()
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def holes(self) -> list[list[str]]:
        """One row per trial that did not end as it should."""
        return [[t.name, t.expected, t.met, t.known_hole or "no"] for t in self.unexpected]

    def clocks(self) -> list[list[str]]:
        """One row per timed copy."""
        rows = []
        for one in self.timed:
            what = f"{one.slowed_percent}%" if one.slowed_percent else "nothing (A/A)"
            s = one.speedup
            interval = f", {s.point:.3f}x [{s.low:.3f}, {s.high:.3f}]" if s else f", {one.met}"
            rows.append([what, one.verdict + interval])
        return rows


def _counts(trials: Sequence[Trial]) -> list[str]:
    ends = Counter(trial.end for trial in trials)
    return [str(len(trials) - ends["not run"]), *(str(ends[name]) for name in HEADINGS[2:])]  # type: ignore[index]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]
