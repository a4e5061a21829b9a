"""The ledger: append-only, hash-chained JSON lines; the memory of the lab and its only writer.

    ledger = Ledger(results / "ledger.jsonl")
    record = ledger.append(record)     # fills in id, time_utc and previous_sha256
    for record in ledger.find(kind="verified", target="rmsnorm"): ...
    report = ledger.verify()           # any edited, removed or moved line; verify_end: at the end

An append takes a file lock, writes one line and syncs it to disk before it returns; it reads only
the last two lines, however long the ledger is. A line that a killed process or a full disk left
torn at the end is moved to its own file by the next append, which records that in a `set_aside`
line. A failed append leaves the file as it was. To find the records of one candidate in a long
ledger, `lab.ledger_read` asks an index (`lab.ledger_index`).

Never rewrites or deletes an accepted line, and never appends behind an end that does not verify.
See `lab.chain` for what verification can and cannot find.
"""

from __future__ import annotations

import io
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lab import chain, ledger_file
from lab.chain import Head, Report
from lab.errors import MachineError, unknown
from lab.ledger_file import End, machine_errors
from lab.ledger_keys import KINDS, Wanted
from lab.ledger_read import Reader
from lab.records import Machine, Record, SetAside

AnyRecord = TypeVar("AnyRecord", bound=Record)


class Ledger:
    """One ledger file. It need not exist yet; the first append makes it and its folder."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._reader = Reader(self.path)

    def append(self, record: AnyRecord) -> AnyRecord:
        """Writes `record` as the next line and returns it with its id, time and link filled in.

        Raises `MachineError` if the disk is full, the lock is not to be had, the end of the ledger
        does not verify, or a number in the record is not finite (JSON has no such numbers).
        """
        with (
            machine_errors(self.path),
            ledger_file.locked(self.path),
            ledger_file.opened(self.path) as file,
        ):
            end = self._checked(ledger_file.read_end(file))
            if end.torn:
                self._set_aside(file, end, record.machine)
                end = self._checked(ledger_file.read_end(file))
            return _write(file, end, record)

    def read(self) -> Iterator[Any]:
        """Every record in order, read as it goes. Nothing for a ledger that does not exist yet.

        A last line without its end (another process may be writing it) is not a record yet. Raises
        `MachineError` naming the line that is damaged, or that a newer version wrote.
        """
        return self._reader.records()

    def lines(self) -> Iterator[bytes]:
        """The bytes of every line that has its end, newline included."""
        return self._reader.lines()

    def find(self, **wanted: str | None) -> Iterator[Any]:
        """The records that have every given value, of those in `Wanted`, up to the present end.

        Raises `CommandError` for an unknown kind, and `MachineError` as `read` does, for damage
        among what it has to decode.
        """
        return self.find_any(Wanted(**wanted))

    def find_any(self, *wanted: Wanted, indexed: bool = True) -> Iterator[Any]:
        """The records that are any of `wanted`, each once, in order.

        With `indexed=False` every line of the ledger is looked at.
        """
        return self._reader.find(_checked_kinds(wanted), indexed=indexed)

    def newest(self, count: int, **wanted: str | None) -> list[Any]:
        """The last `count` records that `find` would find."""
        return self._reader.newest(count, _checked_kinds([Wanted(**wanted)]))

    def verify(self, pinned: Head | None = None) -> Report:
        """Checks every link of the chain, and that `pinned` is still part of it."""
        with machine_errors(self.path), self._snapshot() as (lines, _):
            return chain.check(lines, pinned)

    def verify_end(self, most_bytes: int) -> Report:
        """The same of the last lines alone, where the ledger is longer than `most_bytes`."""
        with machine_errors(self.path), self._snapshot(most_bytes) as (lines, whole):
            return chain.check(lines) if whole else chain.check_end(lines)

    def head(self) -> Head:
        """The number of lines and the hash of the last: note it elsewhere, check it later.

        Reads only the end, and takes the last line's word for its number; `verify` does not.
        """
        if not self.path.exists():
            return Head(lines=0, sha256=chain.GENESIS)
        with machine_errors(self.path), self.path.open("rb") as file:
            last = ledger_file.read_end(file.fileno()).last
        read = chain.envelope(last)
        return Head(lines=read.number if read else 0, sha256=_link(last))

    def export_parquet(self, path: Path) -> int:
        """Writes one row per line to `path` and returns their number; see `lab.export`.

        Lines of a newer version are exported too.
        """
        from lab.export import write_parquet

        try:
            with machine_errors(path):
                return write_parquet(self.lines(), path)
        except msgspec.MsgspecError as error:
            raise MachineError(
                f"{self.path} holds a line that is no record: {error}", self._reader.verify_hint
            ) from error

    @contextmanager
    def _snapshot(self, most_bytes: int = sys.maxsize) -> Iterator[tuple[Iterator[bytes], bool]]:
        """The last lines of this moment, torn or not, and whether they are all; none where there is
        no file."""
        if not self.path.exists():
            yield iter(()), True
            return
        with self.path.open("rb", buffering=ledger_file.SCAN_BYTES) as file:
            try:
                with ledger_file.locked(self.path):  # or a line half-written would look torn
                    size = os.fstat(file.fileno()).st_size
            except OSError as error:
                if error.errno not in ledger_file.FORBIDDEN:
                    raise
                size = os.fstat(file.fileno()).st_size  # read-only: no lock, and no writer either
            if size > most_bytes:
                file.seek(size - most_bytes)
                file.readline()
            yield ledger_file.first_bytes(file, size - file.tell()), size <= most_bytes

    def _checked(self, end: End) -> End:
        """`end`, if its last line is a record that chains to the one before."""
        if end.last:
            read, before = chain.envelope(end.last), chain.envelope(end.before_last)
            follows = (before.number if before else 0) + 1, _link(end.before_last)
            if read is None or (read.number, read.previous_sha256) != follows:
                raise MachineError(
                    f"the end of {self.path} does not verify, so nothing is appended to it",
                    f"{self._reader.verify_hint}. To start anew, move the file away.",
                )
        return end

    def _set_aside(self, file: int, end: End, machine: Machine) -> None:
        """Copies the torn end to its own file, then writes a `set_aside` line in its place."""
        aside = self.path.with_name(f"{self.path.name}.torn-{new_id()}")
        with aside.open("xb") as copy:
            copy.write(end.torn)
            copy.flush()
            os.fsync(copy.fileno())
        note = SetAside(machine=machine, file=aside.name, bytes_set_aside=len(end.torn))
        _write(file, end, note)


def new_id(after: str = "") -> str:
    """26 hex digits, 12 of milliseconds and 14 random, greater than `after` at any clock."""
    found = (time.time_ns() // 1_000_000 << 56) | secrets.randbits(56)
    if after and found <= int(after, 16):
        found = int(after, 16) + 1 + secrets.randbits(32)
    return f"{found:026x}"


def _write(file: int, end: End, record: AnyRecord) -> AnyRecord:
    """Fills in `record` as the line after `end`, writes it and returns it."""
    last = chain.envelope(end.last)
    filled = msgspec.structs.replace(
        record,
        number=last.number + 1 if last else 1,
        id=new_id(last.id if last else ""),
        time_utc=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        previous_sha256=_link(end.last),
    )
    line, written = _encode(filled)
    ledger_file.write_line(file, end, line)
    return written


def _link(line: bytes) -> str:
    """What the line after `line` must carry."""
    return chain.line_sha256(line) if line else chain.GENESIS


def _checked_kinds(wanted: Sequence[Wanted]) -> Sequence[Wanted]:
    for one in wanted:
        if one.kind is not None and one.kind not in KINDS:
            raise unknown("kind of record", one.kind, KINDS)
    return wanted


def _encode(record: AnyRecord) -> tuple[bytes, AnyRecord]:
    """One line of JSON, and the record as it reads back from it."""
    import jsonlines

    buffer = io.BytesIO()
    with jsonlines.Writer(buffer, dumps=msgspec.json.encode) as writer:
        writer.write(record)
    line = buffer.getvalue()
    try:
        return line, msgspec.json.decode(line, type=type(record))
    except msgspec.MsgspecError as error:
        raise MachineError(
            f"this {type(record).__name__} record cannot be written: {error}",
            "NaN and infinity have no place in a record: say in words what was not finite.",
        ) from error
