"""Packing makes exactly the choices of the naive rule, and shows each document once an epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shards import shard

from trainer.errors import DataError
from trainer.packing import BUFFER_DOCUMENTS, Order, Rows
from trainer.token_cache import TokenShard

BOS = 65_000
MANY = 50_000
"""Ids of documents lie below this and BOS above, so that each token names its place."""


def naive_rows(
    documents: Iterator[list[int]], row_length: int, buffer_size: int
) -> tuple[list[list[int]], int]:
    """The rule as karpathy/autoresearch writes it, over one epoch; an unfinished row is left out.

    `documents` begin with BOS. The buffer is a list that is scanned for every placement. Returns
    the rows and how many tokens cropping has dropped.
    """
    dropped = 0
    rows: list[list[int]] = []
    row: list[int] = []
    buffer: list[list[int]] = []
    while True:
        while len(buffer) < buffer_size and (document := next(documents, None)) is not None:
            buffer.append(document)
        if not buffer:
            return rows, dropped
        room = row_length - len(row)
        best = -1
        for index, document in enumerate(buffer):
            if len(document) <= room and (best < 0 or len(document) > len(buffer[best])):
                best = index
        if best < 0:
            best = min(range(len(buffer)), key=lambda index: len(buffer[index]))
        document = buffer.pop(best)
        row += document[:room]
        dropped += len(document[room:])
        if len(row) == row_length:
            rows.append(row)
            row = []


def in_order(shards: Sequence[TokenShard], order: Order, epoch: int) -> Iterator[list[int]]:
    """What the packer is given in an epoch, as the naive rule wants it."""
    for index in order.shards(epoch, len(shards)):
        for piece in order.pieces(epoch, index, shards[index]):
            tokens = shards[index].tokens[piece.start : piece.start + piece.tokens]
            yield [BOS, *tokens.tolist()]


def packed(rows: Rows, row_length: int) -> tuple[list[list[int]], int]:
    """The rows that belong wholly to the current epoch, and the tokens dropped in them."""
    epoch, found, before = rows.epoch, [], rows.dropped_tokens
    while True:
        dropped = rows.dropped_tokens - before
        row = np.empty(row_length, dtype=np.uint16)
        rows.fill(row)
        if rows.epoch > epoch:
            return found, dropped
        found.append(row.tolist())


def packed_epoch(rows: Rows, row_length: int) -> list[list[int]]:
    """The rows only."""
    return packed(rows, row_length)[0]


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    data=st.lists(lengths, min_size=1, max_size=3),
    row_length=st.integers(2, 30),
    buffer_size=st.integers(1, 20),
    seed=st.integers(0, 2**70),
    shuffle=st.booleans(),
    long_documents=st.sampled_from(["cut", "crop"]),
)
def test_same_rows_as_the_naive_rule(
    data: list[list[int]],
    row_length: int,
    buffer_size: int,
    seed: int,
    shuffle: bool,
    long_documents: Any,
) -> None:
    """The fast structure must not change what the model sees, ties included."""
    shards = [shard(counts, 5000 * index, MANY) for index, counts in enumerate(data)]
    order = Order(row_length, seed, shuffle, long_documents=long_documents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.packing.BUFFER_DOCUMENTS", buffer_size)
        found = packed(Rows(shards, order, BOS), row_length)
    assert found == naive_rows(in_order(shards, order, 1), row_length, buffer_size)


def test_same_rows_as_the_naive_rule_with_a_full_buffer() -> None:
    """The same at the real buffer size, where refilling goes on for a while."""
    generator = np.random.default_rng(0)
    shards = [shard(generator.geometric(1 / 60, 1500).tolist(), 0, MANY) for _ in range(2)]
    order = Order(129, seed=7, shuffle=True)
    found = packed(Rows(shards, order, BOS), 129)
    assert len(found[0]) > 1000
    assert found == naive_rows(in_order(shards, order, 1), 129, BUFFER_DOCUMENTS)


@settings(max_examples=80, deadline=None)
@given(data=st.lists(lengths, min_size=1, max_size=3), row_length=st.integers(2, 30))
def test_every_place_is_filled_and_every_row_begins_with_bos(
    data: list[list[int]], row_length: int
) -> None:
    """No padding, and no row whose first tokens continue what the model cannot see."""
    shards = [shard(counts, 0, MANY) for counts in data]
    rows = Rows(shards, Order(row_length, 1, True), BOS)
    for _ in range(20):
        row = np.full(row_length, MANY + 1, dtype=np.uint16)
        rows.fill(row)
        assert row[0] == BOS
        assert not (row == MANY + 1).any()
        inside = row[row != BOS]
        assert (inside < MANY).all()


@settings(max_examples=80, deadline=None)
@given(
    counts=lengths,
    row_length=st.integers(2, 30),
    long_documents=st.sampled_from(["cut", "crop"]),
)
def test_an_epoch_shows_each_token_once_but_for_what_cropping_drops(
    counts: list[int], row_length: int, long_documents: Any
) -> None:
    """A document shown twice or never would bias training without any error."""
    source = shard(counts, 0, MANY)
    order = Order(row_length, 3, True, long_documents=long_documents)
    rows, dropped = packed(Rows([source], order, BOS), row_length)
    shown = [token for row in rows for token in row if token != BOS]
    assert len(set(shown)) == len(shown)
    in_the_unfinished_row = source.meta.tokens - len(shown) - dropped
    assert 0 <= in_the_unfinished_row < row_length


def test_documents_longer_than_a_row_are_shown_whole() -> None:
    """Upstream shows only their first row; with short rows that is a small part of the text."""
    source = shard([1000, 900, 1100], 0, MANY)
    cut = packed_epoch(Rows([source], Order(65, 0, True), BOS), 65)
    crop = packed_epoch(Rows([source], Order(65, 0, True, long_documents="crop"), BOS), 65)
    assert sum(len(row) for row in crop) == 3 * 65
    assert sum(len(row) for row in cut) > 0.9 * 3000
    for row in cut:
        starts = [index for index, token in enumerate(row) if token == BOS]
        for begin, end in zip(starts, [*starts[1:], len(row)], strict=True):
            run = row[begin + 1 : end]
            assert run == list(range(run[0], run[0] + len(run))) if run else True


def test_the_seed_and_the_epoch_decide_the_order_and_nothing_else_does() -> None:
    """Paired runs must see the same batches, and different seeds different ones."""
    shards = [shard([30] * 50, 2000 * index, MANY) for index in range(3)]

    def rows_of(seed: int, shuffle: bool = True) -> Rows:
        return Rows(shards, Order(33, seed, shuffle), BOS)

    first, second = packed_epoch(rows_of(1), 33), packed_epoch(rows_of(1), 33)
    assert first == second
    assert first != packed_epoch(rows_of(2), 33)
    again = rows_of(1)
    packed_epoch(again, 33)
    assert packed_epoch(again, 33) != first
    unshuffled = rows_of(1, shuffle=False)
    assert packed_epoch(unshuffled, 33) == packed_epoch(rows_of(9, shuffle=False), 33)


def test_a_permutation_that_is_pinned() -> None:
    """A new NumPy must not change which batches a seed means."""
    pieces = Order(9, seed=42, shuffle=True).pieces(1, 0, shard([5] * 10))
    assert [piece.start // 5 for piece in pieces] == [6, 9, 3, 1, 0, 8, 5, 2, 4, 7]


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(lengths, min_size=1, max_size=3),
    before=st.integers(0, 40),
    shuffle=st.booleans(),
)
def test_a_restored_stream_goes_on_exactly(
    data: list[list[int]], before: int, shuffle: bool
) -> None:
    """A resumed run must see the batches that the first one would have seen."""
    shards = [shard(counts, 5000 * index, MANY) for index, counts in enumerate(data)]
    order = Order(17, 5, shuffle)
    rows = Rows(shards, order, BOS)
    row, other = np.empty((2, 17), dtype=np.uint16)
    for _ in range(before):
        rows.fill(row)
    restored = Rows(shards, order, BOS)
    restored.restore(json.loads(json.dumps(rows.state())))
    assert restored.epoch == rows.epoch
    for _ in range(30):
        rows.fill(row)
        restored.fill(other)
        assert row.tolist() == other.tolist()
        assert restored.epoch == rows.epoch


def test_ranks_share_out_the_documents() -> None:
    """Parallel runs that saw the same documents would waste all but one of them."""
    source = shard([20] * 30, 0, MANY)
    seen = []
    for rank in range(3):
        order = Order(21, 8, True, rank, ranks=3)
        rows = packed_epoch(Rows([source], order, BOS), 21)
        seen.append({token for row in rows for token in row} - {BOS})
    assert set.union(*seen) == set(range(600))
    assert sum(map(len, seen)) == 600


def test_a_rank_without_documents_is_told() -> None:
    """Otherwise it would look for one for ever."""
    rows = Rows([shard([5, 5])], Order(9, 0, True, rank=7, ranks=8), BOS)
    with pytest.raises(DataError, match="rank 7 of 8"):
        rows.fill(np.empty(9, dtype=np.uint16))
