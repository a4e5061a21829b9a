"""results.tsv: one row per candidate, newest first, for a spreadsheet or a data frame.

Numbers stand as they were recorded, to six significant digits; a stage that was not run leaves its
cells empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.outcomes import Broken, Compared, Failed, Interval, Measured, Quarantined
from lab.records import Benched, Tried, Verified
from lab.report.story import Story

COLUMNS = (
    *("when_utc", "target", "engine", "language", "hardware", "workspace", "candidate", "verify"),
    *("bench", "bench_speedup", "bench_low", "bench_high"),
    *("ab", "ab_pairs", "ab_speedup", "ab_low", "ab_high"),
    *("val_bpb_difference", "val_bpb_low", "val_bpb_high", "verdict", "standing"),
)
_NO_INTERVAL = ("", "", "")


def results_tsv(found: Sequence[Story]) -> str:
    """The whole file, with a header line."""
    rows = [COLUMNS, *(_row(story) for story in found)]
    return "".join("\t".join(_clean(cell) for cell in row) + "\n" for row in rows)


def _row(story: Story) -> tuple[str, ...]:
    return (
        *(story.when_utc, story.target, story.engine, story.language, story.machine.hardware),
        *(story.workspace, story.short, outcome_word(story.verified)),
        *(outcome_word(story.benched), *_bench(story)),
        *(outcome_word(story.tried), *_ab(story)),
        story.judged.verdict.decision if story.judged else "",
        story.standing,
    )


def outcome_word(record: Verified | Benched | Tried | None) -> str:
    """`passed`, `failed: numeric`, `measured`, `quarantined: …`, `compared`; empty if not run."""
    if record is None:
        return ""
    word = str(type(record.outcome).__struct_config__.tag)
    if isinstance(record.outcome, Failed | Quarantined | Broken):
        return f"{word}: {record.outcome.reason}"
    return word


def _bench(story: Story) -> tuple[str, ...]:
    outcome = story.benched.outcome if story.benched else None
    return _interval(outcome.speedup) if isinstance(outcome, Measured) else _NO_INTERVAL


def _ab(story: Story) -> tuple[str, ...]:
    outcome = story.tried.outcome if story.tried else None
    if not isinstance(outcome, Compared):
        return ("", *_NO_INTERVAL, *_NO_INTERVAL)
    return (str(len(outcome.pairs)), *_interval(outcome.speedup), *_interval(outcome.val_bpb))


def _interval(interval: Interval) -> tuple[str, str, str]:
    return f"{interval.point:.6g}", f"{interval.low:.6g}", f"{interval.high:.6g}"


def _clean(cell: str) -> str:
    """One line without tabs, that no spreadsheet takes for a formula."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in cell).split())
    return f"'{flat}" if flat[:1] in ("=", "@") else flat
