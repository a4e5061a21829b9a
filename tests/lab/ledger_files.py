"""Small ledgers on disk, for the tests of the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from made_records import opened
from msgspec.structs import replace

from lab.chain import GENESIS
from lab.ledger import Ledger


def filled(path: Path, count: int = 6) -> Ledger:
    """A ledger of `count` lines."""
    ledger = Ledger(path / "ledger.jsonl")
    for number in range(count):
        ledger.append(opened(workspace=f"w{number}"))
    return ledger


def lines_of(ledger: Ledger) -> list[bytes]:
    return ledger.path.read_bytes().splitlines(keepends=True)


def chained(records: Iterable[Any]) -> Iterator[bytes]:
    """The lines of a sound ledger of these records: what appending would write, without syncs."""
    link = GENESIS
    for number, record in enumerate(records, start=1):
        line = msgspec.json.encode(
            replace(
                record,
                number=number,
                id=f"{number:026x}",
                time_utc="2026-01-01T00:00:00.000Z",
                previous_sha256=link,
            )
        )
        link = hashlib.sha256(line + b"\n").hexdigest()
        yield line + b"\n"


def written(path: Path, records: Iterable[Any]) -> Ledger:
    """A ledger of these records, in no time."""
    with path.open("wb") as file:
        file.writelines(chained(records))
    return Ledger(path)
