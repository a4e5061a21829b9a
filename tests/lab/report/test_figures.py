"""The figures: that they show the records' numbers, cut nothing off, and cannot be broken."""

from __future__ import annotations

import io
import subprocess
import sys
from functools import cache
from typing import Any

import matplotlib
import numpy as np
import pytest
import report_samples as samples
from matplotlib.figure import Figure
from PIL import Image

from lab.report import style
from lab.report.figures import (
    candidate_figure,
    png_bytes,
    profile_figure,
    progress_figure,
    svg_text,
)
from lab.report.numbers import bpb_text, ratio_text
from lab.report.story import stories
from lab.report.words import finding_text

SCENARIOS = samples.scenarios()


@cache
def progress(name: str) -> Figure:
    """The progress figure of a scenario, drawn once for all tests."""
    return progress_figure(SCENARIOS[name])


def texts(figure: Figure) -> list[str]:
    """Every text of a figure that is drawn, line breaks as spaces."""
    from matplotlib.text import Text

    found = [t.get_text() for t in figure.findobj(Text) if t.get_visible()]
    return [" ".join(text.split()) for text in found if text.strip()]


def said(figure: Figure) -> str:
    return " | ".join(texts(figure))


def lines_between(figure: Figure, low: float, high: float) -> int:
    """How many drawn lines go exactly from `low` to `high` in x."""
    return sum(
        list(line.get_xdata()) == [low, high] for ax in figure.axes for line in ax.get_lines()
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_cut_off(name: str) -> None:
    """A name or number that leaves the picture cannot be read."""
    figure = progress(name)
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [ax.get_tightbbox() for ax in figure.axes]
    boxes += [ax.get_legend().get_window_extent() for ax in figure.axes if ax.get_legend()]
    for box in boxes:
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1 + 1


@pytest.mark.parametrize("name", SCENARIOS)
def test_panels_and_legends_do_not_overlap(name: str) -> None:
    """A legend over the data, or one panel's names over another's bars, hides what is shown."""
    figure = progress(name)
    figure.canvas.draw()  # type: ignore[attr-defined]
    boxes = [ax.get_window_extent() for ax in figure.axes]
    tight = [ax.yaxis.get_tightbbox() for ax in figure.axes]
    for one, box in enumerate(boxes):
        for other, names in enumerate(tight):
            if one != other:
                assert not box.overlaps(boxes[other])
                assert names is None or not box.overlaps(names)
        legend = figure.axes[one].get_legend()
        if legend is not None:
            assert not any(legend.get_window_extent().overlaps(b) for b in boxes)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_png_opens_at_its_size(name: str) -> None:
    """Read at 1,200 pixels, so it is made with half as many again."""
    with Image.open(io.BytesIO(png_bytes(progress(name)))) as image:
        image.load()
        assert image.format == "PNG"
        assert image.width == style.WIDTH_IN * style.DPI
        assert 400 <= image.height <= 3200


def test_the_same_records_give_the_same_bytes() -> None:
    """A report under version control must not change when nothing has."""
    once, again = (progress_figure(SCENARIOS["hold"]) for _ in range(2))
    assert png_bytes(once) == png_bytes(again)
    assert svg_text(once, "a", "x") == svg_text(again, "a", "x")


# ---- what is drawn ------------------------------------------------------------------------------


def test_hot_ops_are_bars_in_order_with_their_roofline() -> None:
    lines = SCENARIOS["profiled"]
    figure = profile_figure(lines[0])
    ax = figure.axes[0]
    ops = sorted(lines[0].ops, key=lambda op: -op.share)
    assert [bar.get_width() for bar in ax.patches] == [op.share for op in ops]
    assert [t.get_text() for t in ax.get_yticklabels()] == [op.op for op in ops]
    marks = [line.get_xdata()[0] for line in ax.get_lines()]
    assert marks == pytest.approx([op.share * op.roofline_ms / op.time_ms for op in ops])
    targets = [
        matplotlib.colors.to_hex(bar.get_facecolor()) == style.CANDIDATE for bar in ax.patches
    ]
    assert targets == [op.target for op in ops]
    assert "28.1% 228 ms" in texts(figure)


def test_ops_beyond_the_shown_are_summed_up() -> None:
    """A long tail of small ops must not be silently left out."""
    lines = SCENARIOS["many"]
    profile = next(line for line in lines if hasattr(line, "ops"))
    bars = profile_figure(profile).axes[0].patches
    assert sum(bar.get_width() for bar in bars) == pytest.approx(sum(o.share for o in profile.ops))
    assert "8 further ops" in texts(profile_figure(profile))


def test_bench_shows_every_interval_as_recorded() -> None:
    story = stories(SCENARIOS["hold"])[0]
    outcome: Any = story.benched.outcome  # type: ignore[union-attr]
    figure = candidate_figure(story)
    for interval in (*(case.speedup for case in outcome.cases), outcome.speedup, outcome.control):
        assert ratio_text(interval) in texts(figure)
        assert lines_between(figure, interval.low, interval.high) == 1
    control = next(
        line
        for line in figure.axes[0].get_lines()
        if list(line.get_xdata()) == [outcome.control.low, outcome.control.high]
    )
    assert control.get_color() == style.CONTROL
    assert lines_between(figure, 1.0, 1.0) == 2  # "no difference", in the bench and in the A/B


def test_the_ab_shows_each_pair_and_the_margin() -> None:
    story = stories(SCENARIOS["hold"])[0]
    outcome: Any = story.tried.outcome  # type: ignore[union-attr]
    levels, differences, speedups = candidate_figure(story).axes[1:]
    drawn = [tuple(line.get_xdata()) for line in levels.get_lines()]
    for pair in outcome.pairs:
        assert (pair.incumbent.val_bpb, pair.candidate.val_bpb) in drawn
    points = [line.get_xdata() for line in differences.get_lines()]
    expected = [p.candidate.val_bpb - p.incumbent.val_bpb for p in outcome.pairs]
    assert any(len(x) == 3 and np.allclose(x, expected) for x in points)
    assert any(list(x) == [0.002, 0.002] for x in points)
    ratios = [p.incumbent.step_ms / p.candidate.step_ms for p in outcome.pairs]
    assert any(np.allclose(line.get_xdata(), ratios) for line in speedups.get_lines()[:1])
    assert bpb_text(outcome.val_bpb) in differences.get_xlabel()
    assert ratio_text(outcome.speedup) in speedups.get_xlabel()


def test_speedups_far_apart_get_a_logarithmic_axis() -> None:
    """On a linear axis a ninefold gain squeezes the control and the 1x line together."""
    far, near = (candidate_figure(stories(SCENARIOS[n])[0]).axes[0] for n in ("benched", "hold"))
    assert far.get_xscale() == "log"
    assert near.get_xscale() == "linear"
    for ax in (far, near):
        low, high = ax.get_xlim()
        assert low < 1 < high


def test_the_headline_is_the_verdict() -> None:
    lines = SCENARIOS["hold"]
    shown = said(progress_figure(lines))
    assert f"HOLD: softcap_cross_entropy {samples.sha('candidate one')[:12]} on cpu" in shown
    assert finding_text(stories(lines)[0]) in shown
    assert samples.MACHINE.hardware in shown
    assert lines[-1].id in shown


# ---- what is missing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "empty",
            ["Nothing recorded yet", "Run: kernel-lab profile", "Run: kernel-lab open TARGET"],
        ),
        ("profiled", ["No candidate yet. Run: kernel-lab open TARGET"]),
        ("verified", ["Not benched yet. Run: kernel-lab bench softcap_cross_entropy-cpu-torch"]),
        ("benched", ["Not tried in training yet. Run: kernel-lab ab softcap_cross_entropy-cpu"]),
        ("failed", ["Not benched: verify failed; a gradient is further", "<script>alert(1)"]),
        ("quarantined", ["Quarantined: a time below", "No speed-up can be quoted"]),
        ("broken", ["The A/B broke off: a training run failed."]),
    ],
)
def test_a_panel_without_data_says_what_to_run(name: str, words: list[str]) -> None:
    """An empty frame leaves people guessing whether something is broken."""
    shown = said(progress(name))
    for text in words:
        assert text in shown


def test_a_quarantined_time_is_never_drawn_as_a_speedup() -> None:
    """A 600-fold gain that cannot be true must not end up on a slide."""
    figure = progress("quarantined")
    assert "600" not in said(figure)
    assert not any("as fast as the incumbent, with" in ax.get_xlabel() for ax in figure.axes)


# ---- text that comes from elsewhere -------------------------------------------------------------


def test_a_dollar_sign_is_no_formula() -> None:
    """matplotlib would parse `$…$` in a candidate's error text and raise."""
    shown = said(progress("failed"))
    assert "$\\nosuchformula{$" in shown
    assert not set("\u202e\x1b\x00\U0001f600") & set(shown)


@pytest.mark.parametrize("name", ["rmsnorm", "a_" * 40, "x" * 90, "upstream-batch/64.f32: all"])
def test_long_names_are_broken_not_cut(name: str) -> None:
    lines = style.name_lines(name, width=26).split("\n")
    assert "".join(lines) == name.replace(" ", "") or " ".join(lines) == name
    assert all(len(line) <= 26 for line in lines)


def test_sentences_keep_intervals_in_one_piece() -> None:
    text = "word " * 9 + "1.03x [0.99, 1.07] end"
    for width in range(20, 60):
        wrapped = style.sentence(text, width)
        assert "[0.99, 1.07]" in wrapped
        assert " ".join(wrapped.split("\n")) == text


def test_an_endless_sentence_is_bounded() -> None:
    assert style.sentence("x" * 10_000, 50, most_lines=4).count("\n") == 3


# ---- for the page -------------------------------------------------------------------------------


def test_svg_has_text_own_ids_and_nothing_to_fetch() -> None:
    story = stories(SCENARIOS["hold"])[0]
    svg = svg_text(candidate_figure(story), "mine", 'a "label" & <more>')
    assert svg.startswith(
        '<svg role="img" aria-label="a &quot;label&quot; &amp; &lt;more&gt;" viewBox'
    )
    assert ">geometric mean</text>" in svg
    assert "http" not in svg
    assert "<style" not in svg
    assert svg.count(' id="') == svg.count(' id="mine-')
    assert "var(--figure-candidate, #0b66a8)" in svg


def test_drawn_text_cannot_change_the_svg() -> None:
    """Colours and ids are rewritten in tags only; text that looks like one stays as it is."""
    trick = 'fill: #0b66a8"id="x"<b>'
    svg = svg_text(
        profile_figure(samples.Ledger().profiled([(trick, True, 0.5, 0.5)])), "mine", "label"
    )
    assert 'fill: #0b66a8"id="x"&lt;b&gt;</text>' in svg


def test_drawing_leaves_the_callers_settings_alone() -> None:
    """A notebook that calls the lab must keep its own look, and its start-up time."""
    before = dict(matplotlib.rcParams)
    png_bytes(progress_figure(SCENARIOS["hold"]))
    assert dict(matplotlib.rcParams) == before
    heavy = "('matplotlib', 'numpy', 'scipy')"
    code = f"import sys, lab.report; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
