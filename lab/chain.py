"""The hash chain of a ledger: each line carries the sha256 of the line before it.

`check` reads a ledger's bytes and says whether any line was edited, removed, inserted, repeated or
moved, and where the first damage is. The hash covers a line's exact bytes with its newline, so
`sed -n 7p ledger.jsonl | sha256sum` is what line 8 must name; the first line names 64 zeros.

What a chain cannot show by itself: lines cut off the end, an edit of the very last line, and a file
rewritten from some line to the end with all hashes computed anew. Against these, note `Head` (the
number of lines and the hash of the last) somewhere else and check with `pinned`.

Reads only. Knows nothing of what records mean, so lines of a newer version verify as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated

import msgspec

GENESIS = "0" * 64


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a ledger at some moment: how many lines, and the sha256 of the last."""

    lines: int
    sha256: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of `check`, at a line number that counts from 1."""

    line: int
    what: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` found. `head` is the last line's; `problems` are in order of line number."""

    lines: int
    ok: bool
    head: Head
    problems: tuple[Problem, ...] = ()


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that every line of any version has."""

    kind: str
    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{26}$")]
    time_utc: str
    previous_sha256: str
    schema: int


_ENVELOPE = msgspec.json.Decoder(Envelope)


def line_sha256(line: bytes) -> str:
    """Hash of one line's exact bytes, newline included."""
    return hashlib.sha256(line).hexdigest()


def envelope(line: bytes) -> Envelope | None:
    """The envelope of one line, or None if the line is no record of any version."""
    try:
        return _ENVELOPE.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def check(lines: Iterable[bytes], pinned: Head | None = None) -> Report:
    """Checks every link; `lines` are a ledger's lines with their newlines.

    After a broken link the walk goes on from the line as it stands, so one edit is one problem.
    """
    digests: list[str] = []
    broken: list[tuple[int, str]] = []
    found: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        previous = digests[-1] if digests else GENESIS
        digests.append(line_sha256(line))
        if not line.endswith(b"\n"):
            what = "torn: it has no end of line; the next append sets it aside"
            found.append(Problem(line=number, what=what))
            continue
        read = envelope(line)
        if read is None:
            found.append(Problem(line=number, what="not a record: it was edited or damaged"))
        elif read.previous_sha256 != previous:
            broken.append((number, read.previous_sha256))
    found += [Problem(line=n, what=_explain(n, named, digests)) for n, named in broken]
    if pinned is not None:
        found += _against(pinned, digests)
    return Report(
        lines=len(digests),
        ok=not found,
        head=Head(lines=len(digests), sha256=digests[-1] if digests else GENESIS),
        problems=tuple(sorted(found, key=lambda problem: problem.line)),
    )


def _explain(number: int, named: str, digests: list[str]) -> str:
    """Why line `number`, which names the hash `named`, does not follow the line before it."""
    before = f"line {number - 1}" if number > 1 else "the start"
    if named == GENESIS:
        return f"it says that it is the first line, but follows {before}: inserted, or moved here"
    if named in digests:
        place = digests.index(named) + 1
        cause = "lines were moved, repeated or inserted here"
        return f"it was written after line {place}, but follows {before}: {cause}"
    if number == 1:
        return "lines before it were removed"
    return f"{before} was edited, or lines between {before} and this one were removed"


def _against(pinned: Head, digests: list[str]) -> list[Problem]:
    """The pinned head must be one of the lines, at its place."""
    if pinned.lines == 0:
        return []
    if len(digests) < pinned.lines:
        what = f"the ledger ends here, but had {pinned.lines} lines: the end was cut off"
        return [Problem(line=len(digests), what=what)]
    if digests[pinned.lines - 1] != pinned.sha256:
        what = "its hash is not the pinned one: it, or everything up to it, was rewritten"
        return [Problem(line=pinned.lines, what=what)]
    return []
