"""Prepared data as the trainer reads it: fingerprints, tokens, and endless deterministic batches.

    prepared = open_prepared("stdlib")
    batches = Batches(prepared, "train", batch=4, sequence=256, seed=42)
    inputs, targets = next(batches)                      # int64 [4, 256] each
    for inputs, targets in validation_batches(prepared, 4, 256, tokens=262_144): ...

Opening reads only small files and checks sizes and fingerprints, so that a run starts at once; the
text itself is never read here. Makes nothing: that is `prepare.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainer.datasets import Source, resolve
from trainer.errors import DataError, UsageError, unknown
from trainer.files import cache_folder
from trainer.packing import Order, Rows
from trainer.parts import SPLITS
from trainer.token_cache import TokenShard, open_shard
from trainer.tokenizer import Tokenizer

FORMAT = 1
IGNORED = -1
"""Target of a position that is not scored."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set ready for training. `shards` holds the opened token caches of each split."""

    name: str
    folder: Path
    tokenizer: Tokenizer
    data_sha256: str
    shards: Mapping[str, tuple[TokenShard, ...]]

    @property
    def vocab(self) -> int:
        """Number of token ids, specials included."""
        return self.tokenizer.vocab

    @property
    def tokenizer_sha256(self) -> str:
        """The tokenizer's fingerprint."""
        return self.tokenizer.sha256

    @property
    def token_bytes(self) -> np.ndarray:
        """int32 [vocab]: bytes of text that each id stands for, 0 for specials."""
        return self.tokenizer.token_bytes

    def tokens(self, split: str) -> tuple[TokenShard, ...]:
        """The shards of `train` or `validation`: memory-mapped uint16 ids and offsets."""
        if split not in self.shards:
            raise unknown("split", split, SPLITS)
        return self.shards[split]

    def counts(self, split: str) -> dict[str, int]:
        """Documents, tokens (without BOS) and bytes of text of a split."""
        metas = [shard.meta for shard in self.tokens(split)]
        return {
            "documents": sum(meta.documents for meta in metas),
            "tokens": sum(meta.tokens for meta in metas),
            "text_bytes": sum(meta.text_bytes for meta in metas),
        }


def prepared_folder(source: Source, cache: Path | None = None) -> Path:
    """Where the caches of a data set lie."""
    return cache_folder(cache) / "datasets" / source.key


def open_prepared(name: str, cache: Path | None = None) -> Prepared:
    """Opens what `prepare.py --data NAME` made.

    Raises `UsageError` for an unknown name and `DataError`, with the command to run, where the data
    set is not prepared, a cache is damaged, or a local folder has changed since.
    """
    source = resolve(name)
    folder = prepared_folder(source, cache)
    if not (folder / "prepared.json").is_file():
        source.require()
        raise DataError(f"data set '{name}' is not prepared", f"Run: {source.command}")
    command = source.command
    try:
        content = read_prepared(folder)
        command = content["command"]
        # A folder that is gone has no files: its caches still serve
        if source.files() not in ({}, content["files"]):
            raise DataError(f"the files of '{name}' have changed since they were prepared")
        return assemble(name, folder, content)
    except DataError as error:
        raise DataError(error.message, f"Run: {command}") from error


def read_prepared(folder: Path) -> dict[str, Any]:
    """The content of `prepared.json`. Raises `DataError` if it is missing, damaged or too old."""
    path = folder / "prepared.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise DataError(f"{path} has format {content['format']}, this version reads {FORMAT}")
        if not isinstance(content["command"], str) or not isinstance(content["files"], dict):
            raise ValueError("command or files are of the wrong type")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    return content


def assemble(name: str, folder: Path, content: Mapping[str, Any]) -> Prepared:
    """Opens the tokenizer and token caches that `prepared.json` names, checking each."""
    try:
        tokenizer = Tokenizer.load(folder / content["tokenizer"])
        if tokenizer.sha256 != content["tokenizer_sha256"]:
            raise DataError(f"{folder / content['tokenizer']} is not the tokenizer that was used")
        shards: dict[str, tuple[TokenShard, ...]] = {
            split: tuple(
                open_shard(folder / shard["folder"], shard["source_sha256"], tokenizer.sha256)
                for shard in content["splits"][split]
            )
            for split in SPLITS
        }
        return Prepared(name, folder, tokenizer, content["data_sha256"], shards)
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / 'prepared.json'} is damaged: {error!r}") from error


class Batches:
    """Endless batches `(inputs, targets)`: int64 [batch, sequence] each, targets one place on.

    The seed shuffles the `train` split anew each epoch; `validation` is never shuffled. Of `ranks`
    parallel runs each sees its own part of the documents. Every batch is a fresh array: one that is
    still being copied to a device is never written again.
    """

    def __init__(
        self,
        prepared: Prepared,
        split: Literal["train", "validation"],
        batch: int,
        sequence: int,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        long_documents: Literal["cut", "crop"] = "cut",
    ) -> None:
        if batch < 1 or sequence < 1 or not 0 <= rank < ranks:
            raise UsageError(
                f"no batches of {batch} x {sequence} for rank {rank} of {ranks}",
                "batch, sequence and ranks are at least 1; rank lies below ranks.",
            )
        shards = prepared.tokens(split)
        _require_a_row(prepared, split, sequence)
        order = Order(sequence + 1, seed, split == "train", rank, ranks, long_documents)
        self._shape = (batch, sequence + 1)
        self._rows = Rows(shards, order, prepared.tokenizer.bos)
        self._identity = {
            "split": split,
            "sequence": sequence,
            "seed": seed,
            "rank": rank,
            "ranks": ranks,
            "long_documents": long_documents,
            "data_sha256": prepared.data_sha256,
            "tokenizer_sha256": prepared.tokenizer_sha256,
        }

    @property
    def epoch(self) -> int:
        """Epoch of the last row, from 1."""
        return self._rows.epoch

    @property
    def dropped_tokens(self) -> int:
        """Tokens dropped by cropping since this object was made."""
        return self._rows.dropped_tokens

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return self

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        rows = np.empty(self._shape, dtype=np.uint16)
        for row in rows:
            self._rows.fill(row)
        return _inputs_and_targets(rows)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as JSON, for `restore` in another process."""
        return {**self._identity, **self._rows.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes to where `state` was taken; the next batch is the one that came next there.

        The batch size may differ. Raises `DataError` if the data, seed or row length does.
        """
        for key, value in self._identity.items():
            if state.get(key) != value:
                raise DataError(
                    f"cannot go on in the data: {key} was {state.get(key)} and is now {value}",
                    "Resume with the data set, seed and sequence of the run that was saved.",
                )
        try:
            self._rows.restore(dict(state))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"the saved place in the data is damaged: {error!r}", "Start a new run."
            ) from error


def validation_batches(
    prepared: Prepared, batch: int, sequence: int, tokens: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches over the first `tokens // sequence` rows (at least one) of the validation split.

    Ends earlier where one pass over the split has fewer rows; `BitsPerByte.tokens` says how many
    were seen. The rows do not depend on `batch`: a last batch that is not full is filled up with
    copies of its first row whose targets are all -1.
    """
    _require_a_row(prepared, "validation", sequence)
    order = Order(sequence + 1, seed=0, shuffle=False)
    source = Rows(prepared.tokens("validation"), order, prepared.tokenizer.bos)
    wanted = max(1, tokens // sequence)
    while wanted > 0:
        rows = np.empty((min(batch, wanted), sequence + 1), dtype=np.uint16)
        full = 0
        for row in rows:
            source.fill(row)
            if source.epoch > 1:
                break
            full += 1
        if full:
            yield _filled_up(*_inputs_and_targets(rows[:full]), batch)
        wanted = wanted - full if full == len(rows) else 0


def _filled_up(
    inputs: np.ndarray, targets: np.ndarray, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    missing = batch - len(inputs)
    if not missing:
        return inputs, targets
    ignored = np.full((missing, targets.shape[1]), IGNORED, dtype=np.int64)
    copies = np.repeat(inputs[:1], missing, axis=0)
    return np.concatenate([inputs, copies]), np.concatenate([targets, ignored])


def _inputs_and_targets(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)


def _require_a_row(prepared: Prepared, split: str, sequence: int) -> None:
    counts = prepared.counts(split)
    available = counts["tokens"] + counts["documents"]
    if available < sequence + 1:
        raise DataError(
            f"the {split} split of '{prepared.name}' has {available} tokens, fewer than one row "
            f"of {sequence + 1}",
            "Use more text, or a shorter --sequence.",
        )
