"""Packing against the naive rule: the same rows, by bisection and by scanning the buffer.

    uv run pytest tests/benchmarks/test_packing_throughput.py --benchmark-enable

Documents are log-normal in length (median 400 tokens, a tenth above 1,500, roughly web text), rows
are 2,049 tokens, the buffer is full. Both sides copy tokens in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from trainer.packing import BUFFER_DOCUMENTS, Order, Piece, Rows
from trainer.token_cache import FORMAT, Meta, TokenShard

ROW = 2049
ROWS = 100
BOS = 8188
ORDER = Order(ROW, seed=1, shuffle=True)
Fill = Callable[[np.ndarray], None]


@pytest.fixture(scope="module")
def shard() -> TokenShard:
    """Enough documents for the rows of one measurement, in memory."""
    generator = np.random.default_rng(0)
    lengths = generator.lognormal(np.log(400), 1.0, 6000).astype(np.int64) + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    meta = Meta(FORMAT, "", "", len(lengths), int(offsets[-1]), int(offsets[-1]))
    made = TokenShard(Path("in memory"), meta)
    tokens = generator.integers(0, BOS, offsets[-1]).astype(np.uint16)
    made.__dict__.update(tokens=tokens, offsets=offsets)
    return made


def bisecting(shard: TokenShard) -> Fill:
    """The trainer's packing."""
    return Rows([shard], ORDER, BOS).fill


def scanning(shard: TokenShard) -> Fill:
    """The same with karpathy/autoresearch's scan over the whole buffer for each placement."""
    waiting = iter(ORDER.pieces(1, 0, shard))
    buffer: list[Piece] = []

    def fill(row: np.ndarray) -> None:
        filled = 0
        while filled < len(row):
            buffer.extend(islice(waiting, BUFFER_DOCUMENTS - len(buffer)))
            room, best, best_length = len(row) - filled, -1, 0
            for index, piece in enumerate(buffer):
                length = piece.tokens + 1
                if best_length < length <= room:
                    best, best_length = index, length
            if best < 0:
                best = min(range(len(buffer)), key=lambda index: buffer[index].tokens)
            piece = buffer.pop(best)
            end = min(filled + 1 + piece.tokens, len(row))
            row[filled] = BOS
            row[filled + 1 : end] = shard.tokens[piece.start : piece.start + end - filled - 1]
            filled = end

    return fill


def started(method: Callable[[TokenShard], Fill], shard: TokenShard) -> Fill:
    """With its first row packed, so that filling the buffer is not in the time."""
    fill = method(shard)
    fill(np.empty(ROW, dtype=np.uint16))
    return fill


def pack(fill: Fill) -> np.ndarray:
    """`ROWS` rows."""
    rows = np.empty((ROWS, ROW), dtype=np.uint16)
    for row in rows:
        fill(row)
    return rows


@pytest.mark.parametrize("method", [bisecting, scanning])
def test_packing(
    benchmark: BenchmarkFixture, shard: TokenShard, method: Callable[[TokenShard], Fill]
) -> None:
    """A trainer that waits for its batches trains on less; both make the same rows."""
    rows = benchmark.pedantic(pack, setup=lambda: ((started(method, shard),), {}), rounds=20)
    benchmark.extra_info["tokens"] = rows.size
    assert (rows == pack(started(bisecting, shard))).all()
