"""The hash chain of a ledger: each line carries its number and the sha256 of the line before it.

`check` reads a ledger's bytes and says which lines were edited, removed, inserted, repeated or
moved. The hash covers a line's exact bytes with its newline, so `sed -n 7p ledger.jsonl |
sha256sum` is what line 8 must name; the first line names 64 zeros. The number tells an edited line
from a removed one.

What a chain cannot show by itself: lines cut off the end, an edit of the very last line, and a file
rewritten from some line to the end with all hashes computed anew. Against these, note `Head` (the
number of lines and the hash of the last) somewhere else and check with `pinned`.

Reads only. Knows nothing of what records mean, so lines of a newer version verify as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

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
    unread: int = 0
    """Lines before those that were looked at."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that every line of any version has."""

    kind: str
    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{26}$")]
    time_utc: str
    previous_sha256: str
    number: int
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


class _Break(NamedTuple):
    """A line that does not follow the one before: what it names, its number, and that one's."""

    line: int
    named: str
    number: int
    before: int


START = Head(lines=0, sha256=GENESIS)


def check(lines: Iterable[bytes], pinned: Head | None = None) -> Report:
    """Checks every link; `lines` are a ledger's lines with their newlines.

    After a broken link the walk goes on from the line as it stands, so one edit is one problem.
    """
    digests: list[str] = []
    found = _walk(lines, START, digests)
    if pinned is not None:
        found += _against(pinned, digests)
    return _report(found, START, digests)


def check_end(lines: Iterable[bytes]) -> Report:
    """`check` of the last lines of a ledger, the first of which is taken at its word."""
    rest = iter(lines)
    first = next(rest, b"")
    read = envelope(first)
    if read is None:
        what = "the last lines begin with one that is no record"
        return Report(lines=0, ok=False, head=START, problems=(Problem(line=0, what=what),))
    digests: list[str] = []
    after = Head(lines=read.number, sha256=line_sha256(first))
    return _report(_walk(rest, after, digests), after, digests)


def _walk(lines: Iterable[bytes], after: Head, digests: list[str]) -> list[Problem]:
    """The broken links of the lines behind `after`, whose hashes it adds to `digests`."""
    breaks: list[_Break] = []
    found: list[Problem] = []
    previous, before, readable = after.sha256, after.lines, True
    for place, line in enumerate(lines, start=after.lines + 1):
        digest = line_sha256(line)
        digests.append(digest)
        read = envelope(line)
        if not line.endswith(b"\n"):
            what = "torn: it has no end of line; the next append sets it aside"
            found.append(Problem(line=place, what=what))
        elif read is None:
            found.append(Problem(line=place, what="not a record: it was edited or damaged"))
        elif read.number != before + 1 or (read.previous_sha256 != previous and readable):
            breaks.append(_Break(place, read.previous_sha256, read.number, before))
        previous, readable = digest, read is not None
        before = read.number if read else before + 1
    return found + _explained(breaks, digests, after.lines)


def _report(found: Sequence[Problem], after: Head, digests: Sequence[str]) -> Report:
    lines = after.lines + len(digests)
    return Report(
        lines=lines,
        ok=not found,
        head=Head(lines=lines, sha256=digests[-1] if digests else after.sha256),
        problems=tuple(sorted(found, key=lambda problem: problem.line)),
        unread=max(0, after.lines - 1),
    )


def _explained(breaks: Sequence[_Break], digests: Sequence[str], after: int) -> list[Problem]:
    """A problem for every broken link. Where bytes occur twice, the first place is their own."""
    if not breaks:
        return []
    numbered = list(enumerate(digests, start=after + 1))
    places = {digest: place for place, digest in reversed(numbered)}
    return [_explain(one, digests[one.line - after - 1], places) for one in breaks]


def _explain(broken: _Break, digest: str, places: Mapping[str, int]) -> Problem:
    """Why a line does not follow the one before it, and at which of the two the fault lies."""
    line, named, number, before = broken
    follows = f"line {line - 1}" if line > 1 else "the start"
    written_after = 0 if named == GENESIS else places.get(named)
    if places[digest] < line:
        what = f"a copy of line {places[digest]}"
    elif written_after == line - 1:
        what = f"it is numbered {number} but follows number {before}: edited, hashes and all"
    elif written_after == 0:
        what = f"it says that it is the first line, but follows {follows}: inserted, or moved here"
    elif written_after is not None:
        cause = "lines were moved, repeated or inserted here"
        what = f"it was written after line {written_after}, but follows {follows}: {cause}"
    elif number > before + 1:
        gone = f"lines {before + 1} to {number - 1} were"
        gone = f"line {number - 1} was" if number == before + 2 else gone
        what = f"it was written as line {number}, but follows {follows}: {gone} removed"
    elif line == 1:
        what = "its link was edited: the first line must name 64 zeros"
    else:
        what = f"edited after line {line} was written, or line {line}'s link to it was"
        return Problem(line=line - 1, what=what)
    return Problem(line=line, what=what)


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
