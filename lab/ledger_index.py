"""Where in a ledger the lines about one candidate, target or workspace begin: a file beside it.

    places = Index(ledger_path).places(file, size, wanted)   # (starts of lines, read so far)

`ledger.jsonl.index.sqlite3` is a shortcut and nothing else. It holds byte offsets and what to look
them up by; every record is read from the ledger itself, and the reader checks what it finds there.
It may propose too many lines and leaves the end of the ledger (what it has not read yet, at most
`TAIL_BYTES` where it can write) to the caller.

It remembers how far it has read and the hash of the last line before that: a ledger that was
replaced or cut is noticed, and the index made anew. So is an index that is damaged, foreign or of
another version. Where it cannot be read or written (a read-only folder, a full disk, another
process at it) the answer is that nothing was read yet, and the caller reads the whole ledger.

One process writes it at a time, in transactions; `kill -9` leaves the last whole one. Never writes
to the ledger. What it cannot know: that somebody edited the index to hide lines. `lab.replay` reads
without it, and a promotion is replayed before it counts.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lab.ledger_keys import KINDS, Wanted, keys
from lab.records import SCHEMA

TAIL_BYTES = 1 << 20
"""Reading this much again takes 2 ms, less than writing it into the index. Smaller ledgers have no
index at all."""
LINES_AT_ONCE = 20_000
"""Per transaction: what a kill in the middle costs."""
BUSY_S = 5.0
_APPLICATION = 0x6B6C6978
_MARKS = ("application_id", "user_version")
_LAYOUT = """
CREATE TABLE line (start INTEGER PRIMARY KEY, kind TEXT, target TEXT, engine TEXT,
                   candidate INTEGER, workspace INTEGER);
CREATE INDEX by_kind ON line (kind, target, engine);
CREATE INDEX by_candidate ON line (candidate) WHERE candidate IS NOT NULL;
CREATE INDEX by_workspace ON line (workspace) WHERE workspace IS NOT NULL;
CREATE TABLE progress (read_to INTEGER, last_start INTEGER, last_sha256 TEXT);
"""
_VERSION = zlib.crc32(f"{_LAYOUT} {SCHEMA} {sorted(KINDS)}".encode()) & 0x7FFFFFFF
"""Of the layout and of the kinds of lines that are known: another lab's index is no use here."""
_INSERT = "INSERT INTO line VALUES (?, ?, ?, ?, ?, ?)"


class Progress(NamedTuple):
    """How far an index has read, and the line that ends there."""

    read_to: int
    last_start: int
    last_sha256: str


class Index:
    """The index of one ledger file."""

    def __init__(self, ledger: Path) -> None:
        self.path = ledger.with_name(f"{ledger.name}.index.sqlite3")

    def places(self, file: BinaryIO, size: int, wanted: Sequence[Wanted]) -> tuple[array[int], int]:
        """Where wanted lines may begin, in order, and up to where in the ledger that is all.

        `file` is the ledger, opened for reading, of which `size` bytes exist.
        """
        nothing = array("q"), 0
        if size < TAIL_BYTES:
            return nothing
        found, damaged = None, False
        try:
            with closing(self._connect()) as base:
                found = _ask(base, file, size, wanted)
        except sqlite3.OperationalError:
            pass  # there is none yet, or another process is at it
        except sqlite3.DatabaseError:
            damaged = True
        if found is None or size - found[1] >= TAIL_BYTES:
            with suppress(sqlite3.Error, OSError):
                self._catch_up(file, size, anew=damaged)
                with closing(self._connect()) as base:
                    found = _ask(base, file, size, wanted) or found
        return found or nothing

    def _connect(self, mode: str = "ro") -> sqlite3.Connection:
        """Opens the file; raises `sqlite3.DatabaseError` if it is no index of this version."""
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        base = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
        try:
            marks = [base.execute(f"PRAGMA {mark}").fetchone()[0] for mark in _MARKS]
            tables = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if marks != [_APPLICATION, _VERSION] and (mode == "ro" or tables):
                raise sqlite3.DatabaseError("another application's or version's file")
            if not tables:
                base.executescript(
                    f"BEGIN IMMEDIATE; {_LAYOUT} PRAGMA application_id = {_APPLICATION}; "
                    f"PRAGMA user_version = {_VERSION}; COMMIT;"
                )
        except BaseException:
            base.close()
            raise
        return base

    def _catch_up(self, file: BinaryIO, size: int, *, anew: bool) -> None:
        """Reads the ledger from where the index ends, or from its start if that does not fit.

        Raises `TimeoutError` at once if another process is writing the index.
        """
        import filelock

        with filelock.FileLock(f"{self.path}.lock", timeout=0):
            if anew:  # the base first: SQLite drops a journal that it finds beside an empty base
                for path in (self.path, Path(f"{self.path}-journal")):
                    path.unlink(missing_ok=True)
            self._read_on(file, size)

    def _read_on(self, file: BinaryIO, size: int) -> None:
        with closing(self._connect("rwc")) as base:
            base.execute("PRAGMA cache_size = -65536")
            at = _progress(base, file, size)
            if at is None:
                base.executescript("BEGIN IMMEDIATE; DELETE FROM line; DELETE FROM progress;")
                at = Progress(0, 0, "")
            while at.read_to < size:
                reached = _read_some(base, file, size, at)
                if reached == at:
                    return
                at = reached


def _read_some(base: sqlite3.Connection, file: BinaryIO, size: int, at: Progress) -> Progress:
    """Enters the next lines in one transaction; returns how far it came."""
    reached = at

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal reached
        file.seek(at.read_to)
        start, line = at.read_to, b""
        for line in islice(whole_lines(file, size - start), LINES_AT_ONCE):
            yield _row(start, line)
            reached = Progress(start + len(line), start, "")
            start = reached.read_to
        if reached != at:
            reached = reached._replace(last_sha256=hashlib.sha256(line).hexdigest())

    if not base.in_transaction:
        base.execute("BEGIN IMMEDIATE")
    base.executemany(_INSERT, rows())
    base.execute("DELETE FROM progress")
    base.execute("INSERT INTO progress VALUES (?, ?, ?)", reached)
    base.execute("COMMIT")
    return reached


def whole_lines(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The lines that end within the next `size` bytes, without a last one that is no record.

    Such a last line was never accepted: the next append sets it aside.
    """
    before = b""
    while size > 0 and (line := file.readline(size)).endswith(b"\n"):
        if before:
            yield before
        size -= len(line)
        before = line
    if before and keys(before):
        yield before


def _row(start: int, line: bytes) -> tuple[Any, ...]:
    """What the index holds of a line. The empty kind is that of lines nobody here can read."""
    found = keys(line)
    if found is None or not found.known:
        return (start, "", "", "", None, None)
    return (
        start,
        found.kind,
        found.target,
        found.engine,
        _short(found.candidate_sha256),
        _short(found.workspace),
    )


def _short(text: str) -> int | None:
    """32 bits of a text: two that share them cost one line read in vain."""
    return zlib.crc32(text.encode()) if text else None


def _progress(base: sqlite3.Connection, file: BinaryIO, size: int) -> Progress | None:
    """How far the index has read, or None if this is not the ledger that it read."""
    row = base.execute("SELECT read_to, last_start, last_sha256 FROM progress").fetchone()
    if row is None or row[0] > size:
        return None
    at = Progress(*row)
    file.seek(at.last_start)
    last = file.read(at.read_to - at.last_start)
    return at if hashlib.sha256(last).hexdigest() == at.last_sha256 else None


def _ask(
    base: sqlite3.Connection, file: BinaryIO, size: int, wanted: Sequence[Wanted]
) -> tuple[array[int], int] | None:
    """The places of the wanted lines, seen at one moment; None if the index is another ledger's."""
    parts = ["SELECT start FROM line WHERE kind = ''"]
    values: list[str | int] = []
    for one in wanted:
        columns = {
            "kind": one.kind,
            "target": one.target,
            "engine": one.engine,
            "candidate": one.candidate_sha256 and _short(one.candidate_sha256),
            "workspace": one.workspace and _short(one.workspace),
        }
        given = {name: value for name, value in columns.items() if value is not None}
        tests = " AND ".join(f"{name} = ?" for name in given) or "TRUE"
        parts.append(f"SELECT start FROM line WHERE {tests}")
        values += given.values()
    base.execute("BEGIN")
    try:
        at = _progress(base, file, size)
        if at is None:
            return None
        rows = base.execute(" UNION ".join(parts) + " ORDER BY start", values)
        return array("q", (start for (start,) in rows)), at.read_to
    finally:
        with suppress(sqlite3.Error):
            base.execute("COMMIT")
