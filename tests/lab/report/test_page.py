"""The page: every number from a record, every text escaped, nothing fetched or half-written."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import report_samples as samples

from lab import outcomes as o
from lab import records as r
from lab.report.numbers import bpb_text, ratio_text
from lab.report.page import SECTIONS, page
from lab.report.recompute import ab_disagreements, bench_disagreements
from lab.report.story import stories
from lab.report.words import story_sentence

SCENARIOS = samples.scenarios()
VOID = {"meta", "br", "hr"}


class Page(HTMLParser):
    """Reads a page: its text, its elements, whether each is closed, its tables' rows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).replace("\u00a0", " ").split())


@cache
def html_of(name: str) -> str:
    """The page of a scenario, made once for all tests."""
    return page(SCENARIOS[name])


def read(name: str) -> Page:
    return Page(html_of(name))


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_page_is_well_formed_and_whole(name: str) -> None:
    """Unclosed elements, double ids and dead links make browsers disagree about what is shown."""
    found = read(name)
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for tag, a in found.elements if tag == "a"]
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("scope" in a for tag, a in found.elements if tag == "th")
    assert ("html", {"lang": "en"}) in found.elements


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_page_fetches_and_runs_nothing(name: str) -> None:
    """It must work offline, and must not tell anyone that it was read."""
    html = html_of(name)
    assert not re.search(r"https?://|@import|\ssrc=|<(script|link|iframe|img|object)\b", html)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert not [a for _, a in Page(html).elements if any(key.startswith("on") for key in a)]


def test_the_same_records_give_the_same_page() -> None:
    """A report under version control must not change when nothing has."""
    assert page(list(SCENARIOS["hold"])) == html_of("hold")


# ---- the numbers --------------------------------------------------------------------------------


def test_the_verdict_stands_at_the_top_in_words() -> None:
    found = read("hold")
    sentence = story_sentence(stories(SCENARIOS["hold"])[0]).partition(": ")[2]
    assert sentence in found.text
    assert found.text.index("HOLD") < found.text.index("Hot ops")
    judged: Any = SCENARIOS["hold"][-1]
    for reason in judged.verdict.reasons:
        state = "holds" if reason.holds else "not met"
        assert [reason.rule, state, reason.detail] in found.rows
    for setting, value in judged.policy.items():
        assert [setting, f"{value}"] in found.rows


def test_every_timing_is_the_records() -> None:
    found, lines = read("hold"), SCENARIOS["hold"]
    outcome: Any = next(line.outcome for line in lines if isinstance(line, r.Benched))
    for case in outcome.cases:
        row = next(row for row in found.rows if row[0] == case.case and "ms" in row[-2])
        assert row[2] == ratio_text(case.speedup)
        for times in zip(case.incumbent_ms, case.candidate_ms, case.control_ms, strict=True):
            assert any(row[1:] == [f"{t:.6g}" for t in times] for row in found.rows)
    assert f"Geometric mean over 3 cases: {ratio_text(outcome.speedup)}." in found.text
    assert f"in the same session: {ratio_text(outcome.control)}." in found.text


def test_every_pair_is_the_records() -> None:
    found, lines = read("hold"), SCENARIOS["hold"]
    outcome: Any = next(line.outcome for line in lines if isinstance(line, r.Tried))
    for number, pair in enumerate(outcome.pairs, start=1):
        row = next(row for row in found.rows if row[:2] == [str(number), str(pair.seed)])
        numbers = [float(cell.rstrip("x").replace(",", "")) for cell in row[3:9]]
        assert numbers == pytest.approx(
            [
                pair.incumbent.step_ms,
                pair.candidate.step_ms,
                pair.incumbent.step_ms / pair.candidate.step_ms,
                pair.incumbent.val_bpb,
                pair.candidate.val_bpb,
                pair.candidate.val_bpb - pair.incumbent.val_bpb,
            ],
            abs=0.005,
        )
    assert bpb_text(outcome.val_bpb) in found.text


def test_verify_shows_the_case_nearest_to_its_bound() -> None:
    """The average case hides the one that nearly failed."""
    check = samples.passed().checks[0]
    near = msgspec.structs.replace(check, case="nearly", max_error=check.allowed_max * 0.97)
    ledger = samples.Ledger()
    ledger.verified(o.Passed(checks=(*samples.passed().checks, near)))
    rows = [row for row in Page(page(ledger.lines)).rows if row[:2] == ["loss", "float32"]]
    assert rows[0][2] == "nearly"
    assert rows[0][7] == "97.0%"
    assert len(rows) == 1 + 4  # the summary, then three cases and the near one


def test_the_profile_table_has_every_op() -> None:
    found = read("many")
    profile = next(line for line in SCENARIOS["many"] if isinstance(line, r.Profiled))
    for op in profile.ops:
        row = next(row for row in found.rows if row[0] == op.op)
        assert row[1] == ("target" if op.target else "")
        assert row[2] == f"{100 * op.share:.1f}%"
        assert row[-2:] == [f"{op.ceiling_removed:.3f}x", f"{op.ceiling_roofline:.3f}x"]


def test_a_target_in_parts_stands_below_the_ops_that_it_consists_of() -> None:
    """Else the table seems to say more than a whole step, or hides what is worth replacing."""
    ledger = samples.Ledger()
    profile = ledger.profiled()
    larger = msgspec.structs.replace(profile.ops[0], op="whole_block", share=0.99)
    ledger.lines[-1] = msgspec.structs.replace(profile, larger=(larger,))
    rows = [row for row in Page(page(ledger.lines)).rows if len(row) == 12]
    assert rows[-1][:3] == ["whole_block", "in parts", "99.0%"]


def test_a_pair_shows_how_far_its_runs_ended_apart() -> None:
    """The number behind `trained_differently`; older records have none."""
    ledger = samples.Ledger()
    compared = ledger.tried().outcome
    told = msgspec.structs.replace(compared.pairs[0], apart=0.0123)
    outcome = msgspec.structs.replace(compared, pairs=(told, *compared.pairs[1:]))
    ledger.lines[-1] = msgspec.structs.replace(ledger.lines[-1], outcome=outcome)
    rows = [row for row in Page(page(ledger.lines)).rows if row[2:3] in (["AB"], ["BA"])]
    assert [row[9] for row in rows] == ["1.2%", *[""] * (len(rows) - 1)]


def test_what_it_rests_on_can_be_looked_up() -> None:
    """Hashes and ledger ids in full: a short hash proves nothing."""
    found, lines = read("hold"), SCENARIOS["hold"]
    judged: Any = lines[-1]
    for value in (judged.candidate_sha256, judged.harness_sha256, judged.target_sha256):
        assert value in found.text
    for line in (lines[1], *lines[3:]):
        assert f"{line.id}, {line.time_utc}" in found.text
    assert lines[-1].previous_sha256 in found.text
    assert ["incumbent in bench", samples.sha("incumbent")] in found.rows
    flags = "--preset tour --data stdlib --eval-tokens 16384 --steps 60 --pairs 3"
    assert f"kernel-lab ab {judged.workspace} {flags}" in found.text
    assert "torch 2.13.0" in found.text
    assert "1f611bd0c0ff with local changes" in found.text


def test_samples_that_do_not_give_the_recorded_interval_are_told() -> None:
    """An interval that was edited, or made by another formula, must not pass as measured."""
    ledger = samples.whole()
    bench, tried = ledger.lines[-3], ledger.lines[-2]
    assert bench_disagreements(bench.outcome) == []
    assert ab_disagreements(tried.outcome) == []
    better = msgspec.structs.replace(bench.outcome.speedup, point=2.5, high=2.6)
    forged = msgspec.structs.replace(bench.outcome, speedup=better)
    ledger.lines[-3] = msgspec.structs.replace(bench, outcome=forged)
    assert "geometric mean was recorded as 2.5" in bench_disagreements(forged)[0]
    assert "some intervals do not agree" in Page(page(ledger.lines)).text
    bent = msgspec.structs.replace(tried.outcome, pairs=tried.outcome.pairs[:1])
    assert len(ab_disagreements(bent)) == 2


# ---- text that comes from elsewhere -------------------------------------------------------------


def test_hostile_text_is_shown_and_does_nothing() -> None:
    """A candidate writes its own error message: it must not be able to write the page."""
    ledger = samples.whole(workspace='"><script>alert(2)</script>')
    ledger.verified(samples.failed(samples.HOSTILE))
    html = page(ledger.lines, title="<b>title</b>")
    assert "<script" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quotes&quot;" in html
    assert "\\u202e\\x1b[31m\\x00" in html
    assert not set("\u202e\x1b\x00") & set(html)
    Page(html)


def test_an_endless_message_is_bounded() -> None:
    """A megabyte of output in an error must not become a megabyte of page."""
    ledger = samples.Ledger()
    ledger.verified(samples.failed("x" * 1_000_000))
    html = page(ledger.lines)
    assert "characters left out)" in html
    assert len(html) < 100_000


# ---- states -------------------------------------------------------------------------------------


def test_an_empty_ledger_says_how_to_begin() -> None:
    text = read("empty").text
    assert "The ledger is empty." in text
    assert "kernel-lab profile" in text


def test_a_quarantined_bench_quotes_no_speedup() -> None:
    text = read("quarantined").text
    assert "Quarantined: a time below what this machine can do. No speed-up can be quoted." in text
    assert "600" not in text


def test_an_opened_workspace_stands_in_the_overview() -> None:
    ledger = samples.whole()
    samples.Ledger(lines=ledger.lines, target="rmsnorm", workspace="fresh", candidate="z").opened()
    rows = [row for row in Page(page(ledger.lines)).rows if row[0] == "rmsnorm, cpu"]
    assert rows[0][2:4] == ["OPENED", "not run"]


def test_many_candidates_are_listed_and_the_newest_have_sections() -> None:
    """A lab that ran for a week still has a page that opens."""
    ledger = samples.Ledger()
    for number in range(SECTIONS + 3):
        samples.Ledger(lines=ledger.lines, candidate=f"candidate {number}").verified(
            samples.failed()
        )
    html = page(ledger.lines)
    assert html.count('class="candidate"') == SECTIONS
    assert f"Sections follow for the newest {SECTIONS}; results.tsv has all." in html
    newest, oldest = samples.sha(f"candidate {SECTIONS + 2}"), samples.sha("candidate 0")
    assert newest in html
    assert oldest[:12] in html
    assert oldest not in html


def test_a_torn_line_is_mentioned() -> None:
    """Something was lost in a crash: whoever reads the results should know."""
    ledger = samples.whole()
    ledger.lines.append(
        r.SetAside(machine=samples.MACHINE, id="x", file="ledger.torn-1", bytes_set_aside=1234)
    )
    assert (
        "A torn line of 1,234 bytes was set aside in ledger.torn-1."
        in Page(page(ledger.lines)).text
    )
