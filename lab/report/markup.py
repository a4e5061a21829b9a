"""HTML in which nothing can be forgotten to be escaped: plain strings are always text.

    element("p", "worst error: ", element("code", error_text), class_="note")

Only `element` and `raw` make `Markup`; every other string is escaped when it becomes content or an
attribute. Control and formatting characters, which could hide or reorder text, are spelled out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

MOST_CHARACTERS = 4000
"""Of one text; a candidate's error message may be as long as it likes."""
_VOID = {"meta", "br", "hr"}


class Markup(str):
    """A string that is HTML already."""

    __slots__ = ()


Content = str | Sequence[str]


def raw(html: str) -> Markup:
    """HTML from this package's own hands: a style sheet, a figure."""
    return Markup(html)


def element(tag: str, *content: Content, **attributes: str) -> Markup:
    """One element. A trailing `_` of an attribute's name is dropped, other `_` become `-`."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(visible(value))}"'
        for name, value in attributes.items()
        if value
    )
    if tag in _VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{joined(*content)}</{tag}>")


def joined(*content: Content) -> Markup:
    """Content side by side: strings escaped, markup as it is, sequences flattened."""
    parts: list[str] = []
    for item in content:
        if isinstance(item, Markup):
            parts.append(item)
        elif isinstance(item, str):
            parts.append(escape(visible(item)))
        else:
            parts.append(joined(*item))
    return Markup("".join(parts))


def visible(text: str) -> str:
    r"""`text` with hidden characters spelled out, as `\x1b`; cut where it is too long."""
    shown = "".join(_spelled(character) for character in text[:MOST_CHARACTERS])
    left_out = len(text) - MOST_CHARACTERS
    return f"{shown}… ({left_out:,} characters left out)" if left_out > 0 else shown


def _spelled(character: str) -> str:
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    if not hidden or character in "\n\t":
        return character
    return character.encode("unicode_escape").decode()


def table(
    caption: str,
    headings: Sequence[Content],
    rows: Sequence[Sequence[Content]],
    *,
    row_headings: bool = True,
) -> Markup:
    """A table. A heading that starts with `>` makes its column one of numbers, set flush right."""
    numeric = [isinstance(heading, str) and heading.startswith(">") for heading in headings]
    names = [h.removeprefix(">") if isinstance(h, str) else h for h in headings]
    head = element(
        "tr",
        [
            element("th", name, scope="col", class_="number" if number else "")
            for name, number in zip(names, numeric, strict=True)
        ],
    )
    body = [
        element(
            "tr",
            [
                _cell(cell, number, row_headings and column == 0)
                for column, (cell, number) in enumerate(zip(row, numeric, strict=True))
            ],
        )
        for row in rows
    ]
    whole = element(
        "table", element("caption", caption), element("thead", head), element("tbody", body)
    )
    return element("div", whole, class_="scroll")


def _cell(content: Content, number: bool, heading: bool) -> Markup:
    if heading:
        return element("th", content, scope="row", class_="number" if number else "")
    return element("td", content, class_="number" if number else "")


def details(summary: str, *content: Content) -> Markup:
    """Content that is shown on demand."""
    return element("details", element("summary", summary), *content)
