"""What the MLX trainer does to queries and keys: rotary embedding, then MLX's fused RMS norm.

`mx.fast.rope` turns the other way and makes its angles from a base, where this op is given tables,
so the rotation is written out; mx.compile fuses it.
"""

import mlx.core as mx


def rope_qk_norm(
    q: mx.array, k: mx.array, cos: mx.array, sin: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    """q, k [batch, sequence, heads, head_dim], cos, sin [sequence, head_dim / 2] -> q, k."""
    cos, sin = cos[:, None, :], sin[:, None, :]
    q, k = _apply_rotary(q, cos, sin), _apply_rotary(k, cos, sin)
    return mx.fast.rms_norm(q, None, eps), mx.fast.rms_norm(k, None, eps)


def _apply_rotary(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    x1, x2 = mx.split(x, 2, axis=-1)
    return mx.concatenate([x1 * cos + x2 * sin, x2 * cos - x1 * sin], axis=-1)
