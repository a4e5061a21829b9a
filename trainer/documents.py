"""Documents out of files: text files and Parquet shards behind one iterator of strings.

Also which documents are held out for validation (by hash, so that the choice does not depend on
order, machine or run) and the fingerprints of files (remembered by size and time of change, so that
unchanged files are not read again). Writes nothing but that memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from trainer.errors import DataError
from trainer.files import write_whole

HELD_OUT_ONE_IN = 8
"""One document in this many is held out: of the standard library, that is a little more than the
tokens of the `cheap` evaluation rung."""
CUT_CHARACTERS = 4000
"""A text file that is alone is cut into documents of about this many characters."""
PARQUET_ROWS_AT_ONCE = 1024
PARQUET_MAGIC = b"PAR1"
"""A Parquet file begins and ends with it."""
SMALLEST_PARQUET_BYTES = 12
SETTLED_SECONDS = 2
"""A file changed more recently than this may change again within one tick of its clock."""


def find_files(
    root: Path, suffixes: Sequence[str], skip: Callable[[str], bool] = lambda name: False
) -> list[Path]:
    """Files under `root` with one of `suffixes`, by path; hidden ones and `skip`ped names not."""

    def wanted(name: str) -> bool:
        return not name.startswith(".") and name != "__pycache__" and not skip(name)

    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = filter(wanted, folders)
        found += [Path(folder, name) for name in filter(wanted, names)]
    suitable = (path for path in found if path.suffix.lower() in suffixes)
    return sorted(suitable, key=lambda path: path.relative_to(root).as_posix())


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises `DataError` if it is gone or is no UTF-8 any more."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} changed while it was being read: {error}", "Run the same command again."
        ) from error


def cut_text(text: str, characters: int = CUT_CHARACTERS) -> Iterator[str]:
    """Cuts at the first line end after `characters`; a longer line is cut within."""
    start = 0
    while start < len(text):
        line_end = text.find("\n", start + characters - 1, start + 2 * characters)
        end = line_end + 1 if line_end >= 0 else start + characters
        yield text[start:end]
        start = end


def parquet_fault(path: Path) -> str:
    """What shows from outside that `path` is no whole Parquet file, or ""."""
    with path.open("rb") as file:
        begin = file.read(len(PARQUET_MAGIC))
        file.seek(-min(len(PARQUET_MAGIC), path.stat().st_size), os.SEEK_END)
        end = file.read()
    whole = begin == end == PARQUET_MAGIC and path.stat().st_size >= SMALLEST_PARQUET_BYTES
    return "" if whole else "what arrived is not a whole Parquet file"


def parquet_rows(path: Path, column: str) -> int:
    """Rows of a Parquet file. Raises `DataError` if it is none or `column` holds no text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    if column not in schema.names:
        raise DataError(
            f"{path} has no column '{column}'; it has {', '.join(schema.names)}",
            "Name the one that holds the text: --text-column NAME.",
        )
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if kind not in (pa.string(), pa.large_string(), pa.string_view()):
        raise DataError(
            f"column '{column}' of {path} holds {kind}, not text",
            "Name the one that holds the text: --text-column NAME.",
        )
    return int(rows)


def parquet_documents(path: Path, column: str) -> Iterator[str]:
    """The texts of a column, in order, without nulls and empty ones."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for rows in file.iter_batches(batch_size=PARQUET_ROWS_AT_ONCE, columns=[column]):
                yield from (text for text in rows.column(0).to_pylist() if text)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is not a readable Parquet file: {error}",
        "Replace the file; if prepare.py downloaded it, delete it and run prepare.py again.",
    )


def held_out(keys: Iterable[str]) -> list[bool]:
    """Which of `keys` are held out for validation: one in eight, by hash.

    A key's fate does not depend on the others, but for this: neither side is ever empty, and equal
    keys stay together. Raises `DataError` for fewer than two different keys.
    """
    scores = [hashlib.sha256(key.encode()).digest() for key in keys]
    lowest, highest = min(scores, default=b""), max(scores, default=b"")
    if lowest == highest:
        raise DataError(
            f"{len(scores)} documents, no two of them different, cannot be divided into a training "
            "and a validation split",
            "Use more text.",
        )
    limit = (2**256 // HELD_OUT_ONE_IN).to_bytes(32, "big")
    limit = min(max(limit, lowest), max(score for score in scores if score < highest))
    return [score <= limit for score in scores]


class Divided:
    """One run of documents, divided between the splits by the hash of each document's text."""

    def __init__(self, documents: Callable[[], Iterator[str]]) -> None:
        self._all = documents

    @cached_property
    def _held_out(self) -> list[bool]:
        return held_out(self._all())

    def documents(self, is_held_out: bool) -> Iterator[str]:
        """Those held out, or the others, in order."""
        pairs = zip(self._all(), self._held_out, strict=True)
        return (document for document, held in pairs if held == is_held_out)

    def count(self, is_held_out: bool) -> int:
        """How many `documents` gives."""
        return self._held_out.count(is_held_out)


class Fingerprints:
    """sha256 of files, remembered in a JSON file by path, size and time of change."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._changed = False
        self._known: dict[str, list[int | str]] = {}
        try:
            content = json.loads(memory.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                self._known = content
        except (OSError, ValueError):
            pass  # a memory that is lost costs reading the files once more

    def of(self, path: Path) -> str:
        """sha256 of a file's bytes."""
        return self._remembered(path, _hash_file)

    def of_text(self, path: Path) -> str:
        """sha256 of a text file's bytes, or "" if it is not valid UTF-8."""
        return self._remembered(path, _hash_text)

    def save(self) -> None:
        """Keeps what was learned for the next run."""
        if self._changed:
            write_whole(self._memory, json.dumps(self._known))

    def _remembered(self, path: Path, compute: Callable[[Path], str]) -> str:
        try:
            status = path.stat()
            mark: list[int | str] = [status.st_size, status.st_mtime_ns, compute.__name__]
            key = str(path.resolve())
            known = self._known.get(key)
            if isinstance(known, list) and known[:3] == mark and len(known) == 4:
                return str(known[3])
            digest = compute(path)
        except OSError as error:
            raise DataError(
                f"cannot read {path}: {error.strerror}", "Make it readable, or take it away."
            ) from error
        if time.time() - status.st_mtime > SETTLED_SECONDS:
            self._known[key] = [*mark, digest]
            self._changed = True
        return digest


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_text(path: Path) -> str:
    content = path.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError:
        return ""
    return hashlib.sha256(content).hexdigest()
