"""What the panels share: rows with names, estimates with whiskers, axes of ratios, empty panels.

Each function draws on axes that the caller made, and never touches pyplot or the file system.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lab.outcomes import Interval
from lab.report import style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


class Row(NamedTuple):
    """One line of a forest plot: a name, an estimate, and how it is marked."""

    name: str
    interval: Interval
    colour: str
    bold: bool = False


def say(ax: Axes, title: str, text: str) -> None:
    """An empty panel with a title and, in words, why it is empty."""
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines["bottom"].set_visible(False)
    said = words_of(text)
    ax.text(0.0, 1.0, said, transform=ax.transAxes, va="top", color=style.MUTED, linespacing=1.5)


def words_of(text: str) -> str:
    """The lines that `say` draws."""
    return "\n".join(style.sentence(part, 72) for part in text.split("\n") if part.strip())


def name_rows(ax: Axes, names: Sequence[str], bold: Sequence[bool]) -> None:
    """Names at the left, the first row on top."""
    ax.set_yticks(range(len(names)), names, linespacing=1.05)
    ax.set_ylim(len(names) - 0.45, -0.75 if len(names) else 0)
    for label, strong in zip(ax.get_yticklabels(), bold, strict=False):
        label.set_fontweight("bold" if strong else "normal")


def legend_below(ax: Axes, handles: Sequence[Artist]) -> None:
    """A legend in one line; where it goes is for the layout to say, clear of the data."""
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, -0.2),
        ncols=len(handles),
        borderpad=0,
        borderaxespad=0,
        handlelength=1.4,
        columnspacing=1.4,
    )


def whisker(ax: Axes, position: float, row: Row) -> None:
    """An estimate with its interval in a row; nothing where a number is not finite."""
    values = (row.interval.low, row.interval.point, row.interval.high)
    if not all(math.isfinite(value) for value in values):
        return
    ax.plot(
        [row.interval.low, row.interval.high],
        [position, position],
        color=row.colour,
        linewidth=2.6 if row.bold else 1.8,
        solid_capstyle="butt",
        zorder=3,
    )
    ax.plot(
        *([row.interval.point], [position]),
        marker="D" if row.bold else "o",
        markersize=7 if row.bold else 5.5,
        color=row.colour,
        zorder=4,
    )


def ratio_axis(ax: Axes, values: Sequence[float]) -> None:
    """An x axis of ratios that shows 1.0; logarithmic where the values span more than fourfold."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    known = [v for v in values if math.isfinite(v) and v > 0] + [1.0]
    low, high = min(known), max(known)
    ax.axvline(1.0, color=style.INK, linewidth=1.0, zorder=2)
    if high / low > 4:
        ax.set_xscale("log")
        steps = (1, 1.5, 2, 3, 5, 7) if high / low < 10 else (1, 2, 5)
        ticks = [step * 10.0**power for power in range(-6, 10) for step in steps]
        ax.set_xlim(low / 1.15, high * 1.15)
        ax.xaxis.set_major_locator(
            FixedLocator([t for t in ticks if low / 1.15 <= t <= high * 1.15])
        )
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        edge = max(0.08 * (high - low), 0.01)
        ax.set_xlim(low - edge, high + edge)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.6g}x"))
    ax.grid(axis="x", color=style.RULE, linewidth=0.6)
    ax.set_axisbelow(True)
