"""What the MLX trainer runs: MLX's fused attention, cut so that a window saves work.

The queries are cut into blocks that are given only the keys in their reach, as in torch; a mask
over the whole square would be as right and save nothing.
"""

import mlx.core as mx

BLOCKS_PER_WINDOW = 4
"""As in torch, where it was measured: the work is 1.25 windows of keys per query."""
LEAST_BLOCK = 16


def sliding_window_attention(q: mx.array, k: mx.array, v: mx.array, window: int) -> mx.array:
    """q, k, v [batch, sequence, heads, head_dim] -> y, where i sees i - window to i."""
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    length = q.shape[2]
    if length <= window + 1:
        return _attention(q, k, v, "causal").swapaxes(1, 2)
    block = min(max(LEAST_BLOCK, window // BLOCKS_PER_WINDOW), length)
    band = _band(block, window)
    edges = [*range(window, length, block), length]
    # one split, not slices: its gradient is one concatenation
    first, *rest = mx.split(q, edges[:-1], axis=2)
    parts = [_attention(first, k[:, :, :window], v[:, :, :window], "causal")]
    for queries, start, end in zip(rest, edges, edges[1:], strict=False):
        keys = slice(start - window, end)
        mask = band[: end - start, : end - start + window]
        parts.append(_attention(queries, k[:, :, keys], v[:, :, keys], mask))
    return mx.concatenate(parts, axis=2).swapaxes(1, 2)


def _attention(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | str) -> mx.array:
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, mask=mask)


def _band(rows: int, window: int) -> mx.array:
    """[rows, window + rows]: whether row r sees column c, which is r <= c <= r + window.

    Column c of the block that starts at query s is position s - window + c.
    """
    row, column = mx.arange(rows)[:, None], mx.arange(window + rows)[None, :]
    return (row <= column) & (column <= row + window)
