"""The top of the page: the newest verdict in words, and a table of all candidates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from lab.outcomes import Compared, Measured
from lab.records import Benched, Opened, Tried, Verified
from lab.report.markup import Markup, element, joined, table
from lab.report.numbers import bpb_text, minute, ratio_text, unbroken
from lab.report.results_table import outcome_word
from lab.report.story import SHORT, Story
from lab.report.words import decision_text, story_sentence

TONES = {"PROMOTE": "promote", "HOLD": "hold", "REJECT": "reject", "NOT JUDGED": "open"}
"""CSS class of each decision; its word always stands beside the colour."""


def anchor(story: Story) -> str:
    """The id of a story's section."""
    key = "\n".join((story.target, story.engine, story.candidate_sha256, story.machine.hardware))
    return f"candidate-{hashlib.sha256(key.encode()).hexdigest()[:SHORT]}"


def overview(found: Sequence[Story], opened: Sequence[Opened], shown: int) -> Markup:
    """The newest verdict in words, and a table of all candidates."""
    if not found and not opened:
        return element(
            "section",
            element("h2", "Verdicts"),
            element("p", "No candidate has been judged yet. Start with:"),
            element("pre", "kernel-lab profile\nkernel-lab open TARGET"),
        )
    newest = joined()
    if found:
        newest = element(
            "p",
            tag(found[0]),
            " ",
            unbroken(story_sentence(found[0]).partition(": ")[2]),
            class_=f"lead {TONES[decision_text(found[0].judged)]}",
        )
    rows = [_index_row(story, linked=n < shown) for n, story in enumerate(found)]
    rows += [_opened_row(record) for record in opened]
    headings = [
        *("target", "candidate", "verdict", "verify", ">bench", ">trainer's step", ">val_bpb"),
        "newest record",
    ]
    left_out = len(found) - shown
    note = f"Sections follow for the newest {shown}; results.tsv has all." if left_out > 0 else ""
    return element(
        "section",
        element("h2", "Verdicts"),
        newest,
        table("All candidates, newest first; times in UTC", headings, rows),
        element("p", note, class_="note") if note else "",
    )


def tag(story: Story) -> Markup:
    """The decision in a box."""
    word = decision_text(story.judged)
    return element("span", word, class_=f"tag {TONES[word]}")


def _index_row(story: Story, linked: bool) -> list[str | Markup]:
    bench = story.benched.outcome if story.benched else None
    ab = story.tried.outcome if story.tried else None
    name = element("code", story.short)
    return [
        f"{story.target}, {story.engine}",
        element("a", name, href=f"#{anchor(story)}") if linked else name,
        joined(tag(story), f" {story.standing}" if story.standing else ""),
        _word(story.verified) or "not run",
        ratio_text(bench.speedup) if isinstance(bench, Measured) else _word(story.benched),
        ratio_text(ab.speedup) if isinstance(ab, Compared) else _word(story.tried),
        bpb_text(ab.val_bpb) if isinstance(ab, Compared) else "",
        _when(story.when_utc),
    ]


def _word(record: Verified | Benched | Tried | None) -> str:
    return outcome_word(record).partition(":")[0]


def _when(time_utc: str) -> Markup:
    """Date and time, which may stand below one another but not break."""
    return joined(
        [joined(element("span", part, class_="whole"), " ") for part in minute(time_utc).split()]
    )


def _opened_row(record: Opened) -> list[str | Markup]:
    box = element("span", "OPENED", class_="tag open")
    short = element("code", record.candidate_sha256[:SHORT])
    name = f"{record.target}, {record.engine}"
    return [name, short, box, "not run", "", "", "", _when(record.time_utc)]
