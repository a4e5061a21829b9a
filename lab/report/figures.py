"""The figures, made of ledger records: the whole progress, one profile, one candidate.

    figure = progress_figure(lines)
    data = png_bytes(figure)
    text = svg_text(figure, "progress", "what the picture says, for those who cannot see it")

Figures are matplotlib's own `Figure`, drawn by Agg; pyplot and its global state are never touched.
The same records give the same bytes. `svg_text` is for embedding in a page: text stays text, ids
start with the given name, colours are CSS variables that default to the printed ones.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.outcomes import Compared, Measured
from lab.records import Line, Machine, Profiled
from lab.report import panels, style
from lab.report.axes import say, words_of
from lab.report.numbers import one_line
from lab.report.story import Story, latest_profile, stories
from lab.report.words import ab_missing, bench_missing, failure_detail, finding_text, headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP_IN = 0.35
"""Between panels of a row."""
_ABOVE_IN = 0.5
"""Room for a panel's title."""
_BELOW_IN = 0.95
"""Room for ticks, the axis label and the legend."""
_ROW_IN = 0.29
_LINE_IN = 0.15
"""Each further line of a wrapped name."""
_LEGEND_BELOW_IN = 0.58
"""From the axes down to the legend, past ticks and axis label."""
_STRETCH = 1.5
"""How much higher than it needs to be a panel may get beside a higher one."""
_SENTENCE_WIDTH = 150


class _Panel(NamedTuple):
    """A panel to be drawn: how high its axes are at least, what it needs below, who draws it."""

    height_in: float
    below_in: float
    draw: Callable[[Axes], None]


class _Cell(NamedTuple):
    """Where a panel's axes go, names at the left and numbers at the right included, in inches."""

    left: float
    top: float
    width: float
    height: float


class _Sheet(NamedTuple):
    """The width of a figure and of its left and right margins, in inches."""

    width_in: float
    edge_in: float


_PICTURE = _Sheet(style.WIDTH_IN, 0.3)
_INLINE = _Sheet(10.6, 0.02)
"""For the page, which has margins of its own and shows it 11 inches wide."""
_Row = Sequence[tuple[float, _Panel]]
"""Panels side by side, each with its share of the width."""


def progress_figure(lines: Sequence[Line]) -> Figure:
    """Where the newest candidate stands: hot ops, bench, A/B, under the verdict in words."""
    found = stories(lines)
    story = found[0] if found else None
    profile = latest_profile(lines, story.engine if story else "")
    title, said = _headline(story, profile)
    shown = story or profile
    with style.drawing():
        top = [
            (0.53, _hot_op_panel(profile, story.target if story else "")),
            (0.47, _bench_panel(story)),
        ]
        source = _source(lines, shown.machine if shown else None)
        return _composed([top, _ab_panels(story)], _PICTURE, title, said, source)


def profile_figure(profile: Profiled) -> Figure:
    """The hot ops of one profile."""
    with style.drawing():
        return _composed([[(1.0, _hot_op_panel(profile, ""))]], _INLINE)


def candidate_figure(story: Story) -> Figure:
    """Bench and A/B of one candidate."""
    with style.drawing():
        return _composed([[(1.0, _bench_panel(story))], _ab_panels(story)], _INLINE)


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file with `style.DPI` dots per inch."""
    buffer = io.BytesIO()
    with style.drawing():
        figure.savefig(buffer, format="png", dpi=style.DPI, metadata={"Software": None})
    return buffer.getvalue()


def svg_text(figure: Figure, name: str, label: str) -> str:
    """The figure as an `<svg>` element for a page; `name` keeps its ids apart from others'."""
    buffer = io.StringIO()
    with style.drawing():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(buffer.getvalue(), name, label)


def _embedded(svg: str, name: str, label: str) -> str:
    """Without prologue, metadata, style sheet and name spaces, which a page has of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style\b.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg\b[^>]*>", lambda tag: _root(tag.group(), label), svg, count=1)
    return re.sub(r"<[^>]*>", lambda tag: _own(tag.group(), name), svg).strip()


def _root(tag: str, label: str) -> str:
    box = re.search(r'viewBox="[^"]*"', tag)
    return f'<svg role="img" aria-label="{escape(label)}" {box.group() if box else ""}>'


def _own(tag: str, name: str) -> str:
    """One tag with ids of this figure's own and with colours that the page can change."""
    tag = tag.replace("xlink:href=", "href=")
    tag = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    for colour, variable in style.THEME.items():
        tag = tag.replace(f": {colour}", f": var({variable}, {colour})")
    return tag


# ---- what goes where ----------------------------------------------------------------------------


def _headline(story: Story | None, profile: Profiled | None) -> tuple[str, str]:
    if story is not None:
        return headline(story), finding_text(story)
    if profile is not None:
        return "Profiled, no candidate yet", "Next: kernel-lab open TARGET"
    return "Nothing recorded yet", "Next: kernel-lab profile"


def _source(lines: Sequence[Line], machine: Machine | None) -> str:
    """The line at the foot: which ledger state and which machine this shows."""
    if machine is None or not lines:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in machine.frameworks.items())
    return f"{machine.hardware}; {versions}; ledger up to {lines[-1].id} of {lines[-1].time_utc}"


def _hot_op_panel(profile: Profiled | None, under_test: str) -> _Panel:
    if profile is None or not profile.ops:
        return _words_panel("Hot ops", "Not profiled yet.\nRun: kernel-lab profile")
    names = [op.op for op in panels.hot_ops(profile)]
    if len(profile.ops) > len(names):
        names.append("further ops")
    return _rows_panel(names, lambda ax: panels.draw_hot_ops(ax, profile, under_test))


def _bench_panel(story: Story | None) -> _Panel:
    benched = story.benched if story else None
    missing = bench_missing(story)
    if missing or benched is None or not isinstance(benched.outcome, Measured):
        return _words_panel(panels.BENCH_TITLE, missing, failure_detail(story))
    outcome = benched.outcome
    names = [row.name for row in panels.bench_rows(outcome)]
    return _rows_panel(names, lambda ax: panels.draw_speedups(ax, outcome))


def _ab_panels(story: Story | None) -> _Row:
    """Three columns, or one that says what is missing."""
    tried = story.tried if story else None
    if story is None or tried is None or not isinstance(tried.outcome, Compared):
        detail = failure_detail(story) if tried else ""
        return [(1.0, _words_panel("A/B: paired training runs", ab_missing(story), detail))]
    names = [""] * (len(tried.outcome.pairs) + 1)
    columns = panels.pair_columns(tried.outcome, story)
    shares = (0.4, 0.32, 0.28)
    return [(share, _rows_panel(names, draw)) for share, draw in zip(shares, columns, strict=True)]


def _words_panel(title: str, text: str, detail: str = "") -> _Panel:
    """A panel that says why it is empty; `detail` may be a candidate's words, at any length."""
    text = f"{text}\n{one_line(detail, 400)}"
    lines = words_of(text).count("\n") + 1
    return _Panel(0.22 * lines + 0.2, 0.0, lambda ax: say(ax, title, text))


def _rows_panel(names: Sequence[str], draw: Callable[[Axes], None]) -> _Panel:
    """A panel with one row per name, high enough for the names' lines."""
    lines = max(style.name_lines(name).count("\n") for name in names)
    return _Panel(len(names) * (_ROW_IN + _LINE_IN * lines) + 0.1, _BELOW_IN, draw)


# ---- layout -------------------------------------------------------------------------------------


def _composed(
    rows: Sequence[_Row], sheet: _Sheet, title: str = "", said: str = "", source: str = ""
) -> Figure:
    """A figure of rows of panels under a title and a sentence; its height follows the content."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    said = style.sentence(said, _SENTENCE_WIDTH)
    header = 0.78 + 0.2 * (said.count("\n") + 1) if title else 0.1
    axes_in = [max(panel.height_in for _, panel in row) for row in rows]
    below_in = [max(panel.below_in for _, panel in row) for row in rows]
    content = sum(axes_in) + sum(below_in) + _ABOVE_IN * len(rows)
    figure = Figure(figsize=(sheet.width_in, header + content + (0.35 if source else 0.1)))
    FigureCanvasAgg(figure)
    if title:
        _text(figure, sheet.edge_in, 0.26, style.plain(title), fontsize=15, fontweight="bold")
        _text(figure, sheet.edge_in, 0.62, said, fontsize=9.5, linespacing=1.5)
    top = header
    for row, height, below in zip(rows, axes_in, below_in, strict=True):
        _place_row(figure, sheet, row, top + _ABOVE_IN, height)
        top += _ABOVE_IN + height + below
    if source:
        foot = style.plain(source, _SENTENCE_WIDTH)
        _text(figure, sheet.edge_in, top + 0.08, foot, fontsize=8, color=style.MUTED)
    return figure


def _place_row(figure: Figure, sheet: _Sheet, row: _Row, top: float, height: float) -> None:
    left, usable = sheet.edge_in, sheet.width_in - 2 * sheet.edge_in
    for number, (share, panel) in enumerate(row):
        gap = _GAP_IN if number < len(row) - 1 else 0.0
        own = min(height, panel.height_in * _STRETCH)
        _place(figure, panel, _Cell(left, top, share * usable - gap, own))
        left += share * usable


def _place(figure: Figure, panel: _Panel, cell: _Cell) -> None:
    """Draws a panel so that its names and numbers stay inside its cell, its title at the left."""
    width, height = figure.get_size_inches()
    left, right = cell.left, cell.left + cell.width
    bottom, tall = 1 - (cell.top + cell.height) / height, cell.height / height
    ax = figure.add_axes((left / width, bottom, cell.width / width, tall))
    panel.draw(ax)
    title = ax.get_title(loc="left")
    ax.set_title("", loc="left")
    _text(figure, cell.left, cell.top - 0.3, style.plain(title), fontsize=11, fontweight="bold")
    legend = ax.get_legend()
    if legend is not None:
        legend.set_in_layout(False)
    for _ in range(2):
        box = ax.get_tightbbox()
        if box is None:
            break
        left += max(0.0, cell.left - box.x0 / figure.dpi)
        right -= max(0.0, box.x1 / figure.dpi - cell.left - cell.width)
        ax.set_position((left / width, bottom, (right - left) / width, tall))
    if legend is not None:
        at = (cell.left / width, bottom - _LEGEND_BELOW_IN / height)
        legend.set_bbox_to_anchor(at, figure.transFigure)


def _text(figure: Figure, left: float, top: float, text: str, **look: Any) -> None:
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, va="top", **look)
