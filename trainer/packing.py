"""Packs documents into rows: best fit, every document begins with BOS, no padding.

The rule is karpathy/autoresearch's: into the room left in a row goes the largest document of the
buffer that fits, the earliest of several; where none fits, the shortest is cropped to fill the row
and its tail is dropped until the next epoch. Upstream scans its thousand documents in Python for
each placement; here the buffer is one sorted list and a placement is two bisections.

Two things differ from upstream, both because its buffer fills up with documents that never fit:
- A document longer than a row is first cut into row-sized pieces, each a document of its own.
  Upstream keeps it whole; it then waits in the buffer until nothing shorter is left, and all but
  its first row is dropped. `long_documents="crop"` does that.
- The next epoch's documents enter when this epoch's are all placed, so that an epoch shows every
  piece exactly once, however few there are.

Knows nothing of batches, files or tokenizers beyond the shards it is given.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from trainer.errors import DataError
from trainer.token_cache import TokenShard

BUFFER_DOCUMENTS = 1000
"""Documents to choose from, as upstream."""
ARRIVAL_BITS = 40
"""A buffer key is `length << ARRIVAL_BITS | arrival`: sorted by length, then by arrival."""


class Piece(NamedTuple):
    """A run of tokens of one shard that is packed as a document; BOS is not counted."""

    shard: int
    start: int
    tokens: int


class Buffer:
    """Documents waiting for a place, sorted by length and, within a length, by arrival."""

    def __init__(self) -> None:
        self._keys: list[int] = []
        self._pieces: dict[int, Piece] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, piece: Piece) -> None:
        """Puts a piece in; it takes `piece.tokens + 1` places of a row."""
        key = (piece.tokens + 1) << ARRIVAL_BITS | self._arrivals
        self._arrivals += 1
        insort(self._keys, key)
        self._pieces[key] = piece

    def take_largest(self, room: int) -> Piece | None:
        """Takes out the largest piece that fits in `room` places, or None if none does."""
        past = bisect_left(self._keys, (room + 1) << ARRIVAL_BITS)
        if past == 0:
            return None
        length = self._keys[past - 1] >> ARRIVAL_BITS
        earliest = bisect_left(self._keys, length << ARRIVAL_BITS, hi=past)
        return self._pieces.pop(self._keys.pop(earliest))

    def take_shortest(self) -> Piece:
        """Takes out the shortest piece."""
        return self._pieces.pop(self._keys.pop(0))

    def pieces(self) -> list[Piece]:
        """All pieces, shortest first; added again in this order, they are taken out as before."""
        return [self._pieces[key] for key in self._keys]


@dataclass(frozen=True)
class Order:
    """Which pieces an epoch shows and in which order; the same for the same fields.

    Shards are shuffled, then the pieces within each, so that one shard is read at a time.
    """

    row_length: int
    seed: int
    shuffle: bool
    rank: int = 0
    ranks: int = 1
    long_documents: Literal["cut", "crop"] = "cut"

    def shards(self, epoch: int, count: int) -> list[int]:
        """The order of the shards."""
        return _shuffled(count, self.seed, epoch).tolist() if self.shuffle else list(range(count))

    def pieces(self, epoch: int, index: int, shard: TokenShard) -> list[Piece]:
        """The pieces of shard `index` that belong to this rank, in order."""
        starts, ends = shard.offsets[:-1], shard.offsets[1:]
        if self.long_documents == "cut":
            starts, ends = _cut(starts, ends, self.row_length - 1)
        # Shards are numbered from 0; their shuffles start at 1, 0 being the shuffle of the shards
        count = len(starts)
        order = _shuffled(count, self.seed, epoch, index + 1) if self.shuffle else np.arange(count)
        order = order[self.rank :: self.ranks]
        sizes = (ends - starts)[order].tolist()
        return [Piece(index, *pair) for pair in zip(starts[order].tolist(), sizes, strict=True)]


class Rows:
    """An endless supply of rows of `order.row_length` ids from `shards`, restartable anywhere.

    `epoch` counts from 1 and belongs to the documents placed last. `dropped_tokens` counts what
    cropping has dropped since this object was made. Raises `DataError` if `shards` hold no piece
    for this rank.
    """

    def __init__(self, shards: Sequence[TokenShard], order: Order, bos: int) -> None:
        self.epoch = 1
        self.dropped_tokens = 0
        self._shards = shards
        self._order = order
        self._bos = bos
        self._buffer = Buffer()
        self._shard_order = order.shards(1, len(shards))
        self._opened = 0
        """How many shards of this epoch have been opened."""
        self._waiting: list[Piece] = []
        """The pieces of the shard opened last, and how many of them have left for the buffer."""
        self._left = 0
        self._has_pieces = False

    def fill(self, row: np.ndarray) -> None:
        """Writes one row: uint16 [row_length]."""
        length, filled = len(row), 0
        while filled < length:
            self._refill()
            room = length - filled
            piece = self._buffer.take_largest(room)
            if piece is None:
                piece = self._buffer.take_shortest()
                self.dropped_tokens += piece.tokens + 1 - room
            end = min(filled + 1 + piece.tokens, length)
            row[filled] = self._bos
            tokens = self._shards[piece.shard].tokens
            row[filled + 1 : end] = tokens[piece.start : piece.start + end - filled - 1]
            filled = end

    def state(self) -> dict[str, Any]:
        """Where the stream stands between two rows, as JSON."""
        return {
            "epoch": self.epoch,
            "opened_shards": self._opened,
            "left_pieces": self._left,
            "buffer": [list(piece) for piece in self._buffer.pieces()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes to where `state` was taken, on the same shards and order."""
        self.epoch = int(state["epoch"])
        self._shard_order = self._order.shards(self.epoch, len(self._shards))
        self._opened = int(state["opened_shards"])
        self._waiting = self._pieces_of(self._opened - 1) if self._opened else []
        self._left = int(state["left_pieces"])
        self._buffer = Buffer()
        for entry in state["buffer"]:
            piece = Piece(*map(int, entry))
            if piece.start + piece.tokens > self._shards[piece.shard].meta.tokens:
                raise ValueError(f"{piece} lies outside its shard")
            self._buffer.add(piece)
        self._has_pieces = True

    def _refill(self) -> None:
        buffer = self._buffer
        while len(buffer) < BUFFER_DOCUMENTS and self._next_shard_if_needed():
            count = BUFFER_DOCUMENTS - len(buffer)
            for piece in self._waiting[self._left : self._left + count]:
                buffer.add(piece)
                self._left += 1
                self._has_pieces = True
        if not buffer:
            self._next_epoch()
            self._refill()

    def _next_shard_if_needed(self) -> bool:
        """Opens shards until pieces are waiting; False at the end of the epoch."""
        while self._left == len(self._waiting):
            if self._opened == len(self._shards):
                return False
            self._waiting, self._left = self._pieces_of(self._opened), 0
            self._opened += 1
        return True

    def _next_epoch(self) -> None:
        if not self._has_pieces:
            raise DataError(
                f"the data has no document for rank {self._order.rank} of {self._order.ranks}",
                "Use more data, or fewer ranks.",
            )
        self.epoch += 1
        self._shard_order = self._order.shards(self.epoch, len(self._shards))
        self._opened, self._left, self._waiting = 0, 0, []

    def _pieces_of(self, position: int) -> list[Piece]:
        index = self._shard_order[position]
        return self._order.pieces(self.epoch, index, self._shards[index])


def _cut(starts: np.ndarray, ends: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts every run [start, end) into runs of at most `most` tokens, in order."""
    counts = -(-(ends - starts) // most)
    first = np.cumsum(counts) - counts
    which = np.arange(counts.sum()) - np.repeat(first, counts)
    cut_starts = np.repeat(starts, counts) + which * most
    return cut_starts, np.minimum(cut_starts + most, np.repeat(ends, counts))


def _shuffled(count: int, *key: int) -> np.ndarray:
    """A permutation of `range(count)` by `key`.

    Sorts raw PCG64 output, whose stream NumPy promises to keep; the Generator's own shuffle it may
    change between versions.
    """
    bits = np.random.PCG64(np.random.SeedSequence([number % 2**64 for number in key]))
    return np.argsort(bits.random_raw(count), kind="stable")
