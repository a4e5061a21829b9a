"""What the MLX trainer does before attention: three products, rotary embedding, MLX's RMS norm.

`mx.fast.rope` turns the other way and makes its angles from a base, where this op is given tables,
so the rotation is written out; mx.compile fuses it.
"""

import mlx.core as mx


def attention_prelude(
    x: mx.array,
    query: mx.array,
    key: mx.array,
    value: mx.array,
    cos: mx.array,
    sin: mx.array,
    eps: float,
) -> tuple[mx.array, mx.array, mx.array]:
    """x [batch, sequence, width], matrices [heads, head_dim, width], tables [sequence,
    head_dim / 2] -> q, k and v [batch, sequence, heads, head_dim]."""
    by_head = (*x.shape[:2], *query.shape[:2])
    q, k, v = ((x @ matrix.flatten(0, 1).T).reshape(by_head) for matrix in (query, key, value))
    cos, sin = cos[:, None, :], sin[:, None, :]
    q, k = _apply_rotary(q, cos, sin), _apply_rotary(k, cos, sin)
    return mx.fast.rms_norm(q, None, eps), mx.fast.rms_norm(k, None, eps), v


def _apply_rotary(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    x1, x2 = mx.split(x, 2, axis=-1)
    return mx.concatenate([x1 * cos + x2 * sin, x2 * cos - x1 * sin], axis=-1)
