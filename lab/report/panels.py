"""The three panels of the progress figure: hot ops, speed-up per case, and the A/B pair by pair.

Each is drawn on axes that the caller made, from a record that has the data. Never touches pyplot or
the file system.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from lab.outcomes import Compared, Measured
from lab.paired import speedup
from lab.records import HotOp, Profiled
from lab.report import style
from lab.report.axes import Row, legend_below, name_rows, ratio_axis, whisker
from lab.report.numbers import bpb_text, confidence_text, counted, ms_text, percent_text, ratio_text
from lab.report.story import Story
from lab.report.words import margin_bpb

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BENCH_TITLE = "Bench: speed-up over the incumbent"
MOST_OPS = 14
"""Bars of the hot-op panel; the rest is summed up in one more."""
_INCUMBENT: dict[str, Any] = {
    "marker": "o",
    "markersize": 8.5,
    "markerfacecolor": "none",
    "markeredgecolor": style.INK,
    "markeredgewidth": 1.3,
    "linestyle": "none",
    "zorder": 4,
}
_CANDIDATE: dict[str, Any] = {
    "marker": "o",
    "markersize": 4.5,
    "color": style.CANDIDATE,
    "linestyle": "none",
    "zorder": 5,
}


# ---- hot ops ------------------------------------------------------------------------------------


def hot_ops(profile: Profiled | None) -> list[HotOp]:
    """The ops that have a bar of their own, the most expensive first."""
    if profile is None:
        return []
    return sorted(profile.ops, key=lambda op: -op.share)[:MOST_OPS]


def draw_hot_ops(ax: Axes, profile: Profiled, under_test: str = "") -> None:
    """Bars of each op's share of the step, with its least possible time as a mark inside."""
    shown = hot_ops(profile)
    shares = [op.share for op in shown]
    names = [style.name_lines(op.op) for op in shown]
    colours = [style.CANDIDATE if op.target else style.PLAIN for op in shown]
    notes = [f"{percent_text(op.share)}  {ms_text(op.time_ms)}" for op in shown]
    rest = sorted(profile.ops, key=lambda op: -op.share)[MOST_OPS:]
    if rest:
        shares.append(sum(op.share for op in rest))
        names.append(counted(len(rest), "further op"))
        colours.append(style.PLAIN)
        notes.append(f"{percent_text(shares[-1])}  {ms_text(sum(op.time_ms for op in rest))}")
    rows = range(len(shares))
    ax.barh(rows, shares, height=0.62, color=colours)
    for row, op in enumerate(shown):
        if op.time_ms > 0:
            least = op.share * op.roofline_ms / op.time_ms
            ax.plot([least, least], [row - 0.31, row + 0.31], color=style.LIMIT, linewidth=2.2)
    _values_at_bars(ax, shares, notes)
    name_rows(ax, names, [op.op == under_test for op in shown])
    _percent_axis(ax, max(shares))
    ax.set_title(f"Hot ops: share of the trainer's step ({profile.preset}, {profile.engine})")
    ax.set_xlabel(
        f"of a step of {ms_text(median(profile.step_ms))}; "
        f"ops with a name account for {percent_text(profile.covered)}"
    )
    _hot_op_legend(ax)


def _values_at_bars(ax: Axes, shares: Sequence[float], notes: Sequence[str]) -> None:
    for row, (share, note) in enumerate(zip(shares, notes, strict=True)):
        ax.annotate(
            *(note, (share, row)),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=style.MUTED,
            bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 0.8},
        )


def _percent_axis(ax: Axes, largest: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.set_xlim(0, largest * 1.34 if largest > 0 else 1)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}%"))
    ax.grid(axis="x", color=style.RULE, linewidth=0.6)
    ax.set_axisbelow(True)


def _hot_op_legend(ax: Axes) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=style.CANDIDATE, label="target (can be replaced)"),
        Patch(color=style.PLAIN, label="other op"),
        Line2D([], [], color=style.LIMIT, linewidth=2.2, label="least possible (roofline)"),
    ]
    legend_below(ax, handles)


# ---- speed-up per case --------------------------------------------------------------------------


def bench_rows(outcome: Measured) -> list[Row]:
    """One row per case, then the geometric mean and the control."""
    dtypes = {timing.dtype for timing in outcome.cases}
    rows = [
        Row(
            timing.case if len(dtypes) == 1 else f"{timing.case} {timing.dtype}",
            timing.speedup,
            style.CANDIDATE,
        )
        for timing in outcome.cases
    ]
    mean = Row("geometric mean", outcome.speedup, style.CANDIDATE, bold=True)
    return [*rows, mean, Row("incumbent vs itself (A/A)", outcome.control, style.CONTROL)]


def draw_speedups(ax: Axes, outcome: Measured) -> None:
    """Speed-up and interval per case, geometric mean, and the A/A control in grey."""
    _forest(ax, bench_rows(outcome))
    dtypes = sorted({timing.dtype for timing in outcome.cases})
    what = dtypes[0] if len(dtypes) == 1 else counted(len(dtypes), "dtype")
    ax.set_title(f"{BENCH_TITLE} ({what})")
    ax.set_xlabel(f"times as fast as the incumbent, with {confidence_text(outcome.speedup)}")


def _forest(ax: Axes, rows: Sequence[Row]) -> None:
    """Estimates with whiskers, names at the left, the numbers as text at the right."""
    for position, row in enumerate(rows):
        whisker(ax, position, row)
        ax.text(
            *(1.02, position, ratio_text(row.interval)),
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
            color=style.INK if row.bold else style.MUTED,
            fontweight="bold" if row.bold else "normal",
        )
    name_rows(ax, [style.name_lines(r.name) for r in rows], [r.bold for r in rows])
    ratio_axis(ax, [v for r in rows for v in (r.interval.low, r.interval.high)])


# ---- the A/B ------------------------------------------------------------------------------------


def pair_columns(outcome: Compared, story: Story) -> list[Callable[[Axes], None]]:
    """Three columns with one row per pair: val_bpb, its difference, and the step's speed-up."""
    margin = margin_bpb(story.judged)
    return [
        lambda ax: _draw_val_bpb(ax, outcome),
        lambda ax: _draw_difference(ax, outcome, margin),
        lambda ax: _draw_step_speedup(ax, outcome),
    ]


def _pair_rows(ax: Axes, outcome: Compared, named: bool) -> None:
    names = [f"pair {i + 1} ({pair.order})" for i, pair in enumerate(outcome.pairs)]
    names.append("all pairs")
    bold = [False] * len(outcome.pairs) + [True]
    name_rows(ax, names if named else [""] * len(names), bold)


def _draw_val_bpb(ax: Axes, outcome: Compared) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for row, pair in enumerate(outcome.pairs):
        ends = (pair.incumbent.val_bpb, pair.candidate.val_bpb)
        ax.plot(ends, (row, row), color=style.CONTROL, linewidth=1.4, zorder=2)
        ax.plot(*([ends[0]], [row]), **_INCUMBENT)
        ax.plot(*([ends[1]], [row]), **_CANDIDATE)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.5g}"))
    ax.grid(axis="x", color=style.RULE, linewidth=0.6)
    _pair_rows(ax, outcome, named=True)
    ax.margins(x=0.12)
    ax.set_axisbelow(True)
    ax.set_title(f"A/B: val_bpb after {counted(outcome.steps, 'step')}")
    ax.set_xlabel("bits per byte; left is better")
    arms = (("incumbent", _INCUMBENT), ("candidate", _CANDIDATE))
    legend_below(ax, [Line2D([], [], label=label, **look) for label, look in arms])


def _draw_difference(ax: Axes, outcome: Compared, margin: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    total = outcome.val_bpb
    differences = [p.candidate.val_bpb - p.incumbent.val_bpb for p in outcome.pairs]
    ax.axvspan(-margin, margin, color=style.BAND, zorder=0)
    ax.axvline(margin, color=style.LIMIT, linewidth=1.2, linestyle=(0, (4, 2)), zorder=2)
    ax.axvline(0, color=style.INK, linewidth=1.0, zorder=2)
    ax.plot(differences, range(len(differences)), **_CANDIDATE)
    whisker(ax, len(differences), Row("", total, style.CANDIDATE, bold=True))
    _pair_rows(ax, outcome, named=False)
    reach = 1.15 * max(
        *(abs(v) for v in (*differences, total.low, total.high) if math.isfinite(v)), 1.6 * margin
    )
    ax.set_xlim(-reach, reach)
    ax.annotate(
        *(f"margin +{margin:g}", (margin, -0.62)),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=style.LIMIT,
    )
    ax.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+.4g}" if x else "0"))
    ax.set_title("Difference in val_bpb")
    ax.set_xlabel(f"candidate minus incumbent, {confidence_text(total)}\n{bpb_text(total)}")


def _draw_step_speedup(ax: Axes, outcome: Compared) -> None:
    ratios = [speedup(pair) for pair in outcome.pairs]
    ax.plot(ratios, range(len(ratios)), **_CANDIDATE)
    whisker(ax, len(ratios), Row("", outcome.speedup, style.CANDIDATE, bold=True))
    _pair_rows(ax, outcome, named=False)
    ratio_axis(ax, [*ratios, outcome.speedup.low, outcome.speedup.high])
    ax.set_title("Speed-up of the step")
    ax.set_xlabel(
        f"times as fast, {confidence_text(outcome.speedup)}\n{ratio_text(outcome.speedup)}"
    )
