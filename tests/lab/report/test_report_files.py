"""The report's files and the HTML underneath: whole or not at all, and escaped by default."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
import pytest
import report_samples as samples

from lab.errors import MachineError
from lab.report import write_report
from lab.report.markup import MOST_CHARACTERS, Markup, element, joined, raw, table, visible
from lab.report.page import page
from lab.report.results_table import results_tsv
from lab.report.story import stories

HOLD = samples.whole().lines
PROFILED = HOLD[:1]


def test_markup_escapes_whatever_is_not_markup() -> None:
    """Escaping is the default, so that forgetting it is impossible."""
    assert element("p", "<a>", raw("<b>")) == "<p>&lt;a&gt;<b></p>"
    assert element("p", "x", class_='"><i>') == '<p class="&quot;&gt;&lt;i&gt;">x</p>'
    assert element("td", ["<", element("br")]) == "<td>&lt;<br></td>"
    assert isinstance(joined("a", "&"), Markup)
    assert str(joined("a", "&")) == "a&amp;"
    assert "<th scope" in table("c", [">n"], [["<1"]])
    assert "&lt;1" in table("c", [">n"], [["<1"]])


def test_hidden_characters_are_spelled_out() -> None:
    """A lone surrogate cannot be written as UTF-8, and a direction mark reorders what is read."""
    assert visible("a\u200bb\ud800\r") == "a\\u200bb\\ud800\\r"
    assert visible("tab\there\nétude 漢字") == "tab\there\nétude 漢字"
    assert len(visible("y" * 9999)) < MOST_CHARACTERS + 50


def test_three_files_are_written_whole(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    made = write_report(HOLD, folder)
    names = {"report.html", "progress.png", "results.tsv"}
    assert {path.name for path in folder.iterdir()} == names
    assert {Path(p).name for p in (made.html, made.png, made.tsv)} == names
    assert Path(made.html).read_text(encoding="utf-8") == page(HOLD)
    assert msgspec.json.decode(msgspec.json.encode(made))["html"] == made.html
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_report(iter(HOLD), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_told_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MachineError, match="cannot be written") as caught:
        write_report([], tmp_path / "file")
    assert "--output" in caught.value.hint


def test_a_failed_write_leaves_the_old_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not turn yesterday's report into half a page."""
    made = write_report(PROFILED, tmp_path)
    before = Path(made.html).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lab.report.page.os.replace", full)
    with pytest.raises(MachineError, match="No space left"):
        write_report(PROFILED, tmp_path)
    assert Path(made.html).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_results_tsv_has_a_row_per_candidate() -> None:
    ledger = samples.whole(workspace="=cmd\t|x\n")
    samples.Ledger(lines=ledger.lines, candidate="two").verified(samples.failed())
    rows = list(csv.DictReader(io.StringIO(results_tsv(stories(ledger.lines))), delimiter="\t"))
    assert [row["verify"] for row in rows] == ["failed: gradient", "passed"]
    assert [row["verdict"] for row in rows] == ["", "hold"]
    bench, tried = ledger.lines[4].outcome, ledger.lines[5].outcome
    assert float(rows[1]["bench_speedup"]) == pytest.approx(bench.speedup.point, rel=1e-5)
    assert float(rows[1]["ab_low"]) == pytest.approx(tried.speedup.low, rel=1e-5)
    assert float(rows[1]["val_bpb_difference"]) == pytest.approx(tried.val_bpb.point, rel=1e-5)
    assert rows[1]["workspace"] == "'=cmd |x"
    assert rows[0]["bench_speedup"] == ""
    assert results_tsv([]).count("\n") == 1
