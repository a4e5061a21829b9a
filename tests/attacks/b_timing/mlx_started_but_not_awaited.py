"""Replaces mx.eval by mx.async_eval: the work goes on after the answer.

Target: rope_qk_norm
Language: mlx
Stage: bench
Expected: switches
Notes: B2, C8
"""

import mlx.core as mx


def nothing(*arrays: object) -> None:
    return None


mx.eval = mx.async_eval
mx.synchronize = nothing


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
