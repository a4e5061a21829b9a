"""How files become the parts of a data set: one part is one run of documents and one token cache.

The validation split is always disjoint from the training split:
- a text file is one document; files are held out by the hash of their path in the folder;
- of several Parquet files, in alphabetical order, the last is the validation split;
- a single file is divided: its documents are held out by the hash of their text. A single text
  file is first cut at line ends into documents.

Reads files to fingerprint them, and their text only when a part's `documents` are asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from trainer.documents import (
    Divided,
    Fingerprints,
    cut_text,
    held_out,
    parquet_documents,
    parquet_rows,
    read_text,
)
from trainer.downloads import Progress
from trainer.transfer import Policy

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True)
class Part:
    """Documents that become one token cache. `count` says about how many, for progress."""

    split: Split
    name: str
    sha256: str
    count: Callable[[], int]
    documents: Callable[[], Iterator[str]]
    teaches_tokenizer: bool


@dataclass(frozen=True)
class Work:
    """What collecting needs: where downloads go, known fingerprints, and whom to tell.

    `command` is what the user types to try again.
    """

    downloads: Path
    fingerprints: Fingerprints
    progress: Progress
    notice: Callable[[str], None]
    command: str
    policy: Policy = field(default_factory=Policy)


def fingerprint(parts: Sequence[Part]) -> str:
    """sha256 over the parts' splits and contents, in order; the same wherever the files lie."""
    content = json.dumps([[part.split, part.sha256] for part in parts])
    return hashlib.sha256(content.encode()).hexdigest()


def text_parts(root: Path, paths: Sequence[Path], work: Work) -> tuple[Part, ...]:
    """One part per split out of text files below `root`. Those that are not UTF-8 are skipped."""
    hashes = {}
    for done, path in enumerate(paths):
        work.progress("reading files", done, len(paths))
        hashes[path] = work.fingerprints.of_text(path)
        if not hashes[path]:
            work.notice(f"skipped {path}: not UTF-8 text")
    work.progress("reading files", len(paths), len(paths))
    readable = {path: sha256 for path, sha256 in hashes.items() if sha256}
    if len(readable) == 1:
        path, sha256 = readable.popitem()
        return _divided(path.name, sha256, lambda: cut_text(read_text(path)))
    names = [path.relative_to(root).as_posix() for path in readable]
    chosen: dict[Split, list[Path]] = {"train": [], "validation": []}
    for path, is_held_out in zip(readable, held_out(names), strict=True):
        chosen["validation" if is_held_out else "train"].append(path)
    return tuple(_text_part(split, chosen[split], root, readable) for split in SPLITS)


def _text_part(split: Split, paths: list[Path], root: Path, hashes: dict[Path, str]) -> Part:
    listing = "".join(f"{hashes[path]} {path.relative_to(root).as_posix()}\n" for path in paths)
    return Part(
        split=split,
        name=f"{split} files",
        sha256=hashlib.sha256(listing.encode()).hexdigest(),
        count=lambda: len(paths),
        documents=lambda: filter(None, map(read_text, paths)),
        teaches_tokenizer=split == "train",
    )


def parquet_parts(
    paths: Sequence[Path], column: str, work: Work, teachers: int | None = None
) -> tuple[Part, ...]:
    """One part per Parquet file, or two out of a single one.

    The tokenizer learns from the first `teachers` training files, or from all of them.
    """
    parts = []
    for index, path in enumerate(paths):
        work.progress("reading files", index, len(paths))
        rows = parquet_rows(path, column)
        sha256 = _tagged(work.fingerprints.of(path), f"column {column}")
        is_training = index < len(paths) - 1
        part = Part(
            split="train" if is_training else "validation",
            name=path.name,
            sha256=sha256,
            count=partial(int, rows),
            documents=partial(parquet_documents, path, column),
            teaches_tokenizer=is_training and (teachers is None or index < teachers),
        )
        parts.append(part)
    work.progress("reading files", len(paths), len(paths))
    if len(parts) == 1:
        return _divided(parts[0].name, parts[0].sha256, parts[0].documents)
    return tuple(parts)


def _divided(name: str, sha256: str, documents: Callable[[], Iterator[str]]) -> tuple[Part, ...]:
    """Two parts out of one run of documents, divided by the hash of each."""
    divided = Divided(documents)
    return tuple(
        Part(
            split=split,
            name=f"{split} part of {name}",
            sha256=_tagged(sha256, f"{split} part"),
            count=partial(divided.count, is_held_out),
            documents=partial(divided.documents, is_held_out),
            teaches_tokenizer=not is_held_out,
        )
        for split, is_held_out in zip(SPLITS, (False, True), strict=True)
    )


def _tagged(sha256: str, tag: str) -> str:
    return hashlib.sha256(f"{sha256} {tag}".encode()).hexdigest()
