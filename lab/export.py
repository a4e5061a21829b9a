"""The ledger as a Parquet table, for notebooks and queries. Reads lines, writes one file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

COMMON = ("kind", "id", "time_utc", "previous_sha256", "target", "engine", "language", "workspace")
HASHES = ("candidate_sha256", "harness_sha256", "target_sha256")
MACHINE = ("hardware", "system", "git_commit")
ROWS_AT_ONCE = 1024


def write_parquet(lines: Iterable[bytes], path: Path) -> int:
    """Writes one row per line and returns their number; `path` appears whole or not at all.

    Columns: `line` (from 1), the common fields (null where a kind lacks one), hardware, system and
    git state, and `body`, the whole line as JSON text.
    """
    import pyarrow
    from pyarrow import parquet

    names = (*COMMON, *HASHES, *MACHINE, "body")
    schema = pyarrow.schema(
        [
            ("line", pyarrow.int64()),
            ("schema", pyarrow.int64()),
            ("git_dirty", pyarrow.bool_()),
            *((name, pyarrow.string()) for name in names),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    rows = (_row(number, line) for number, line in enumerate(lines, start=1))
    count = 0
    try:
        with parquet.ParquetWriter(staged, schema) as writer:
            while batch := list(islice(rows, ROWS_AT_ONCE)):
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                count += len(batch)
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    return count


def _row(number: int, line: bytes) -> dict[str, Any]:
    record = msgspec.json.decode(line)
    machine = record.get("machine", {})
    row = {name: record.get(name) for name in (*COMMON, *HASHES, "schema")}
    row |= {name: machine.get(name) for name in (*MACHINE, "git_dirty")}
    return row | {"line": number, "body": line.decode().rstrip("\n")}
