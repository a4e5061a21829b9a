"""The whole square of scores with a mask, in float32, by MLX's softmax.

Language: mlx
"""

import mlx.core as mx


def sliding_window_attention(q: mx.array, k: mx.array, v: mx.array, window: int) -> mx.array:
    position = mx.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    wide_q, wide_k, wide_v = (x.astype(mx.float32).swapaxes(1, 2) for x in (q, k, v))
    scores = wide_q @ wide_k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
    scores = mx.where((back >= 0) & (back <= window), scores, -mx.inf)
    return (mx.softmax(scores, axis=-1) @ wide_v).swapaxes(1, 2).astype(q.dtype)
