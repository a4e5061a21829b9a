"""Causal attention that sees at most `window` positions back, and does less work for it.

    attend = WindowedAttention(sequence=2048, window=1024)
    y = attend(q, k, v)                  # [batch, sequence, heads, head_dim] each, and the result

The mirror of `trainer.engines.torch.attention`: position i attends to j with i - window <= j <= i,
and the queries are cut into blocks that are given only the keys in their reach. A mask over the
whole square would be as right and save nothing. Never falls back to full attention.
"""

from __future__ import annotations

from itertools import pairwise

import mlx.core as mx
import numpy as np

BLOCKS_PER_WINDOW = 4
"""As in the torch engine, where it was measured: the work is 1.25 windows of keys per query."""
LEAST_BLOCK = 16


class WindowedAttention:
    """One layer's attention. Has no weights."""

    def __init__(self, sequence: int, window: int) -> None:
        self.window = window
        self.is_full = window >= sequence - 1
        self.block = min(max(LEAST_BLOCK, window // BLOCKS_PER_WINDOW), sequence)
        self.mask = None if self.is_full else mx.array(_band(self.block, window))

    def __call__(self, q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        """[batch, sequence, heads, head_dim] in and out, scaled by 1 / sqrt(head_dim)."""
        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
        if self.mask is None or q.shape[2] <= self.window + 1:
            return _attention(q, k, v, "causal").swapaxes(1, 2)
        return self._banded(q, k, v, self.mask).swapaxes(1, 2)

    def _banded(self, q: mx.array, k: mx.array, v: mx.array, mask: mx.array) -> mx.array:
        """The first `window` queries see all before them; then block by block."""
        reach, length = self.window, q.shape[2]
        edges = [*range(reach, length, self.block), length]
        # one split, not slices: its gradient is one concatenation
        first, *rest = mx.split(q, edges[:-1], axis=2)
        parts = [_attention(first, k[:, :, :reach], v[:, :, :reach], "causal")]
        for block, (start, end) in zip(rest, pairwise(edges), strict=True):
            keys = slice(start - reach, end)
            seen = mask[: end - start, : end - start + reach]
            parts.append(_attention(block, k[:, :, keys], v[:, :, keys], seen))
        return mx.concatenate(parts, axis=2)


def _attention(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | str) -> mx.array:
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, mask=mask)


def _band(rows: int, window: int) -> np.ndarray:
    """[rows, window + rows]: whether row r sees column c, which is r <= c <= r + window.

    Column c of the block that starts at query s is position s - window + c.
    """
    row, column = np.arange(rows)[:, None], np.arange(window + rows)[None, :]
    return (row <= column) & (column <= row + window)
