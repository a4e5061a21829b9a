"""How figures look: colours, type, and text that is safe to draw.

The colours tell apart in the common kinds of colour blindness and in grey print, and no meaning
rests on colour alone. `THEME` names each colour's CSS variable, so that the page can restyle its
inline figures in dark mode.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from contextlib import AbstractContextManager
from typing import Any

from lab.report.numbers import unbroken

INK = "#1b2530"
MUTED = "#56626d"
RULE = "#d5dbe1"
PAPER = "#fdfdfc"
CANDIDATE = "#0b66a8"
PLAIN = "#b4bdc6"
CONTROL = "#7d8893"
LIMIT = "#c04a00"
BAND = "#eef1f3"

THEME = {
    INK: "--figure-ink",
    MUTED: "--figure-muted",
    RULE: "--figure-rule",
    PAPER: "--figure-paper",
    CANDIDATE: "--figure-candidate",
    PLAIN: "--figure-plain",
    CONTROL: "--figure-control",
    LIMIT: "--figure-limit",
    BAND: "--figure-band",
}

WIDTH_IN = 12.0
"""At 150 dots per inch the PNG has 1,800 pixels; shown at 1,200 its smallest type has 11."""
DPI = 150

RC: Any = {
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlepad": 10,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": MUTED,
    "text.color": INK,
    # A `$` in a case's name or an error's text is a dollar sign, not the start of a formula.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.color": INK,
    "ytick.labelsize": 9,
    "ytick.major.size": 0,
    # Text stays text: it can be selected, searched and read aloud.
    "svg.fonttype": "none",
    "svg.hashsalt": "kernel-lab",
}

_DRAWN = {*"±—…·≤≥→“”", "\u00d7", "\u2212", "\u2013", "\u2018", "\u2019"}
_JOINTS = re.compile(r"[^\s_/.:,;-]*[\s_/.:,;-]*")


def drawing() -> AbstractContextManager[None]:
    """The settings under which figures are made and saved; the caller's own stay as they are."""
    import matplotlib

    return matplotlib.rc_context(RC)


def plain(text: str, most: int = 400) -> str:
    """`text` on one line, at most `most` characters, with what the font may lack replaced."""
    flat = " ".join(unicodedata.normalize("NFC", text[: 4 * most]).split())
    shown = "".join(character if _has_glyph(character) else "\ufffd" for character in flat)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def sentence(text: str, width: int, most_lines: int = 8) -> str:
    """`text` broken into lines of at most `width`, between words where that is possible."""
    joined = unbroken(plain(text, width * most_lines), "\0")
    lines = textwrap.wrap(
        *(joined, width), break_on_hyphens=False, max_lines=most_lines, placeholder=" …"
    )
    return "\n".join(lines).replace("\0", " ")


def name_lines(name: str, width: int = 26, most_lines: int = 4) -> str:
    """A name broken after its joints (`_`, `-`, …); shortened only past `most_lines`."""
    lines = [""]
    for piece in _JOINTS.findall(plain(name, width * most_lines)):
        if len(lines[-1]) + len(piece.rstrip()) > width and lines[-1]:
            lines.append("")
        while len(piece.rstrip()) > width:
            lines[-1], piece = piece[:width], piece[width:]
            lines.append("")
        lines[-1] += piece
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) > most_lines:
        lines = [*lines[: most_lines - 1], f"{lines[most_lines - 1][: width - 1]}…"]
    return "\n".join(lines)


def _has_glyph(character: str) -> bool:
    code = ord(character)
    if code < 0x7F:
        return character.isprintable()
    return (0xA1 <= code <= 0x17F and code != 0xAD) or character in _DRAWN
