"""Numbers as text, the same everywhere: ratios, bits per byte, durations, shares, counts.

An interval is shown with as many decimals as its width needs, and never so few that a bound which
differs from "no difference" is rounded onto it.
"""

from __future__ import annotations

import math
import re

from lab.outcomes import Interval


def ratio_text(interval: Interval) -> str:
    """`1.31x [1.27, 1.35]`: the estimate and its interval, above 1 is faster."""
    if not _finite(interval):
        return "not a finite number"
    places = _places(interval, least=2, most=5, neutral=1.0)
    point, low, high = (f"{v:.{places}f}" for v in (interval.point, interval.low, interval.high))
    return f"{point}x [{low}, {high}]"


def bpb_text(interval: Interval) -> str:
    """`+0.0003 [-0.0002, +0.0008]`: candidate minus incumbent, bits per byte; below 0 is better."""
    if not _finite(interval):
        return "not a finite number"
    places = _places(interval, least=4, most=6, neutral=0.0)
    point, low, high = (
        f"{v + 0.0:+.{places}f}" for v in (interval.point, interval.low, interval.high)
    )
    return f"{point} [{low}, {high}]"


def confidence_text(interval: Interval) -> str:
    """`95% interval`."""
    return f"{100 * interval.confidence:g}% interval"


def ms_text(milliseconds: float) -> str:
    """A duration with three significant digits: `0.0457 ms`, `12.3 ms`, `1,230 ms`."""
    return f"{_significant(milliseconds)} ms"


def percent_text(share: float) -> str:
    """`23.4%`."""
    return f"{100 * share:.1f}%" if math.isfinite(share) else "not a finite number"


def number_text(value: float) -> str:
    """A small table's number: three significant digits, exponents only where they are shorter."""
    return f"{value:.3g}"


def _significant(value: float) -> str:
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{round(value, 2 - math.floor(math.log10(abs(value)))):,.{digits}f}"


def _finite(interval: Interval) -> bool:
    return all(math.isfinite(v) for v in (interval.point, interval.low, interval.high))


def _places(interval: Interval, least: int, most: int, neutral: float) -> int:
    """The fewest decimals that show the interval's width and on which side of `neutral` each is."""
    half = (interval.high - interval.low) / 2
    places = least
    while places < most and (
        0 < half < 10**-places
        or any(
            value != neutral and round(value, places) == neutral
            for value in (interval.point, interval.low, interval.high)
        )
    ):
        places += 1
    return places


def unbroken(text: str, space: str = "\u00a0") -> str:
    """`text` with another space inside brackets such as [0.99, 1.07], where no line may break."""
    return re.sub(r"(\[[^][ ]{1,12},) (?=[^][ ]{1,12}\])", rf"\g<1>{space}", text)


def minute(time_utc: str) -> str:
    """`2026-11-21 10:05` of an ISO 8601 time; anything else stays as it is."""
    found = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)", time_utc)
    return " ".join(found.groups()) if found else time_utc


def counted(number: int, noun: str) -> str:
    """`1 pair`, `3 pairs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def one_line(text: str, most: int = 240) -> str:
    """Text with its white space collapsed, and shortened with a mark where it is long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"
