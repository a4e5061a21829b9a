"""Reads a ledger file: all of it in order, or what was asked for, by way of the index.

For `lab.ledger`, which is what everybody else uses. Writes nothing but what `lab.ledger_index`
keeps beside the ledger.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from lab import chain, ledger_file
from lab.errors import MachineError
from lab.ledger_file import machine_errors
from lab.ledger_index import Index
from lab.ledger_keys import KINDS, Wanted, keys
from lab.records import SCHEMA, Line

AHEAD, AHEAD_BYTES = 10_000, 8192
"""How many lines are announced to the system before they are read, and how much of each. It made
finding 400 A/Bs on a cold disk four times as fast."""


class Reader:
    """Reads one ledger file. It need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> Iterator[bytes]:
        """The lines that have an end; only the last can lack it."""
        with self._opened(ledger_file.SCAN_BYTES) as file:
            yield from (line for line in file or () if line.endswith(b"\n"))

    def records(self) -> Iterator[Any]:
        """Every record in order, read as it goes."""
        start = 0
        for line in self.lines():
            yield self._decoded(line, start)
            start += len(line)

    def find(self, wanted: Sequence[Wanted], *, indexed: bool = True) -> Iterator[Any]:
        """The records that are any of `wanted`, in order, up to the end as it is now."""
        with self._opened() as file:
            if file is None:
                return
            size = os.fstat(file.fileno()).st_size
            starts, read_to = array("q"), 0
            if indexed:
                starts, read_to = Index(self.path).places(file, size, wanted)
            _announce(file, starts)
            for start in starts:
                line = _line_at(file, start)
                if _is_wanted(line, wanted):
                    yield self._decoded(line, start)
            for start, line in _tail(file, read_to, size):
                if _is_wanted(line, wanted):
                    yield self._decoded(line, start)

    def newest(self, count: int, wanted: Sequence[Wanted]) -> list[Any]:
        """The last `count` of what `find` finds, without decoding the others."""
        with self._opened() as file:
            if file is None or count < 1:
                return []
            size = os.fstat(file.fileno()).st_size
            starts, read_to = Index(self.path).places(file, size, wanted)
            kept = deque(
                (found for found in _tail(file, read_to, size) if _is_wanted(found[1], wanted)),
                maxlen=count,
            )
            for start in reversed(starts):
                if len(kept) == count:
                    break
                line = _line_at(file, start)
                if _is_wanted(line, wanted):
                    kept.appendleft((start, line))
            return [self._decoded(line, start) for start, line in kept]

    @property
    def verify_hint(self) -> str:
        """The command that finds the damage."""
        return f"Look for the damage: kernel-lab ledger verify --ledger {self.path}"

    @contextmanager
    def _opened(self, buffering: int = -1) -> Iterator[BinaryIO | None]:
        if not self.path.exists():
            yield None
            return
        with machine_errors(self.path), self.path.open("rb", buffering=buffering) as file:
            yield file

    def _decoded(self, line: bytes, start: int) -> Any:
        """The record of a line; raises a `MachineError` that names the line."""
        try:
            record = _decoder().decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._unreadable(line, start, error) from error
        if record.schema > SCHEMA:
            raise self._unreadable(line, start, None)
        return record

    def _unreadable(self, line: bytes, start: int, error: Exception | None) -> MachineError:
        with self._opened() as file:
            number = 1 + sum(1 for _ in ledger_file.first_bytes(file, start)) if file else 1
        envelope = chain.envelope(line)
        if envelope and (envelope.schema > SCHEMA or envelope.kind not in KINDS):
            return MachineError(
                f"{self.path}, line {number}: kind '{envelope.kind}' of schema {envelope.schema} "
                f"is unknown here (this version reads schema {SCHEMA})",
                "It was written by a newer kernel-lab: update this one.",
            )
        return MachineError(f"{self.path}, line {number} is no record: {error}", self.verify_hint)


def _is_wanted(line: bytes, wanted: Sequence[Wanted]) -> bool:
    """Whether to decode a line: it is wanted, or it cannot be told what it is."""
    found = keys(line)
    return found is None or not found.known or any(one.fits(found) for one in wanted)


def _announce(file: BinaryIO, starts: Sequence[int]) -> None:
    """Tells the system which lines are read next, so that a disk fetches them side by side."""
    if sys.platform == "linux":
        for start in starts[:AHEAD]:
            os.posix_fadvise(file.fileno(), start, AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


def _line_at(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    return file.readline()


def _tail(file: BinaryIO, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The whole lines from `start` to `size`, each with its place."""
    file.seek(start)
    for line in ledger_file.first_bytes(file, size - start):
        if line.endswith(b"\n"):
            yield start, line
        start += len(line)


@cache
def _decoder() -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(Line)
