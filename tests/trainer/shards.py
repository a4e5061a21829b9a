"""Token shards and prepared data made up in memory, for tests of packing and batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.data import Prepared
from trainer.token_cache import FORMAT, Meta, TokenShard
from trainer.tokenizer import Tokenizer

BYTES_ONLY = Tokenizer(tuple(bytes([value]) for value in range(256)))


def shard(lengths: Sequence[int], first_id: int = 0, most: int = 256) -> TokenShard:
    """Documents of the given lengths whose ids count up from `first_id` and wrap at `most`."""
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    tokens = ((first_id + np.arange(offsets[-1])) % most).astype(np.uint16)
    meta = Meta(FORMAT, "source", "tokenizer", len(lengths), int(offsets[-1]), int(offsets[-1]))
    made = TokenShard(Path("in memory"), meta)
    made.__dict__.update(tokens=tokens, offsets=offsets)  # where cached_property keeps them
    return made


def prepared(train: Sequence[TokenShard], validation: Sequence[TokenShard]) -> Prepared:
    """Those shards with a tokenizer of single bytes; BOS is 256."""
    shards = {"train": tuple(train), "validation": tuple(validation)}
    return Prepared("made up", Path("in memory"), BYTES_ONLY, "d" * 64, shards)
