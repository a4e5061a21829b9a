"""Cuts the gradient of k, where MLX leaves zeros and no error. Expected: gradient"""

import mlx.core as mx


def sliding_window_attention(q: mx.array, k: mx.array, v: mx.array, window: int) -> mx.array:
    position = mx.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    q, k, v = (x.swapaxes(1, 2) for x in (q, mx.stop_gradient(k), v))
    scale, seen = q.shape[-1] ** -0.5, (back >= 0) & (back <= window)
    y = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=seen)
    return y.swapaxes(1, 2)
