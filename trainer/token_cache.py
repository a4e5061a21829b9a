"""Token caches: the ids of one run of documents as memory-mapped uint16, with fingerprints.

A shard is a folder: `tokens.bin` (uint16, little-endian, documents one after the other, no BOS),
`offsets.bin` (int64 [documents + 1], where each document begins) and `meta.json` (counts and the
fingerprints of text and tokenizer). It is written beside its place and renamed when it is whole, so
a cache that was cut off is never opened; `open_shard` refuses one whose sizes or fingerprints do
not match, and `prepare.py` then makes it anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trainer.errors import DataError
from trainer.files import make_folder, telling_disk_errors
from trainer.tokenizer import Tokenizer

FORMAT = 1
TEMPORARY_SUFFIX = ".tmp"
ID_BYTES = 2
OFFSET_BYTES = 8
DOCUMENTS_AT_ONCE = 256
"""Documents handed to the encoding threads together: enough to keep them busy."""


@dataclass(frozen=True)
class Meta:
    """What `meta.json` says about a shard."""

    format: int
    source_sha256: str
    tokenizer_sha256: str
    documents: int
    tokens: int
    text_bytes: int


@dataclass(frozen=True, eq=False)
class TokenShard:
    """An opened shard. Document `i` is `tokens[offsets[i]:offsets[i + 1]]`."""

    folder: Path
    meta: Meta

    @cached_property
    def tokens(self) -> np.ndarray:
        """uint16 [meta.tokens], memory-mapped and read-only."""
        # asarray: slicing a plain ndarray is several times cheaper than slicing a np.memmap
        return np.asarray(np.memmap(self.folder / "tokens.bin", dtype="<u2", mode="r"))

    @cached_property
    def offsets(self) -> np.ndarray:
        """int64 [meta.documents + 1], in memory."""
        return np.fromfile(self.folder / "offsets.bin", dtype="<i8")


def open_shard(folder: Path, source_sha256: str, tokenizer_sha256: str) -> TokenShard:
    """Opens a shard of that text and tokenizer. Raises `DataError` if it is not whole or not it."""
    try:
        meta = Meta(**json.loads((folder / "meta.json").read_text(encoding="utf-8")))
        token_bytes = (folder / "tokens.bin").stat().st_size
        offset_bytes = (folder / "offsets.bin").stat().st_size
    except FileNotFoundError as error:
        raise DataError(f"the token cache {folder} has no {Path(error.filename).name}") from None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"the token cache {folder} is damaged: {error}") from error
    if meta.format != FORMAT:
        raise DataError(f"the token cache {folder} has format {meta.format}, not {FORMAT}")
    if (meta.source_sha256, meta.tokenizer_sha256) != (source_sha256, tokenizer_sha256):
        raise DataError(f"the token cache {folder} is of another text or tokenizer")
    whole = (meta.tokens * ID_BYTES, (meta.documents + 1) * OFFSET_BYTES)
    if (token_bytes, offset_bytes) != whole:
        raise DataError(f"the token cache {folder} is cut off: {token_bytes} bytes, not {whole[0]}")
    return TokenShard(folder, meta)


def write_shard(
    folder: Path,
    documents: Iterable[str],
    tokenizer: Tokenizer,
    source_sha256: str,
    threads: int = 1,
    told: Callable[[int], None] = lambda documents: None,
) -> TokenShard:
    """Encodes `documents` on `threads` threads into `folder`, in place of what is there.

    `told` is called with the number of documents done. Empty documents are left out. The caller
    holds the data set's lock. Raises `DataError` when the disk is full.
    """
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary)
    try:
        with telling_disk_errors(folder):
            encoded = _encode(documents, tokenizer, threads)
            counts = _write_ids(temporary, encoded, told)
            meta = Meta(FORMAT, source_sha256, tokenizer.sha256, *counts)
            with (temporary / "meta.json").open("wb") as file:
                file.write(json.dumps(asdict(meta), indent=1).encode())
                _flush(file)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return TokenShard(folder, meta)


def remove_unfinished(folder: Path) -> None:
    """Removes what a killed `prepare.py` left behind. The caller holds the data set's lock."""
    for path in folder.glob(f"*{TEMPORARY_SUFFIX}"):
        shutil.rmtree(path, ignore_errors=True)


def _encode(
    documents: Iterable[str], tokenizer: Tokenizer, threads: int
) -> Iterator[tuple[np.ndarray, int]]:
    """The ids and the UTF-8 bytes of each document, in order."""

    def encode(document: str) -> tuple[np.ndarray, int]:
        return tokenizer.encode(document), len(document.encode())

    tokenizer.encoding  # noqa: B018 - built here, once, and not by several threads at a time
    iterator = iter(documents)
    with ThreadPoolExecutor(threads) as pool:
        while chunk := list(islice(iterator, DOCUMENTS_AT_ONCE)):
            yield from pool.map(encode, chunk)


def _write_ids(
    folder: Path, encoded: Iterable[tuple[np.ndarray, int]], told: Callable[[int], None]
) -> tuple[int, int, int]:
    """Writes tokens and offsets; returns the counts of documents, tokens and text bytes."""
    offsets, text_bytes = [0], 0
    with (folder / "tokens.bin").open("wb") as file:
        for ids, size in encoded:
            if len(ids):
                file.write(ids.astype("<u2", copy=False).tobytes())
                offsets.append(offsets[-1] + len(ids))
                text_bytes += size
                told(len(offsets) - 1)
        _flush(file)
    with (folder / "offsets.bin").open("wb") as file:
        file.write(np.array(offsets, dtype="<i8").tobytes())
        _flush(file)
    return len(offsets) - 1, offsets[-1], text_bytes


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
