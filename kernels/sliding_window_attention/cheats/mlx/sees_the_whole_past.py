"""Takes MLX's own causal mask and no window. Expected: numeric"""

import mlx.core as mx


def sliding_window_attention(q: mx.array, k: mx.array, v: mx.array, window: int) -> mx.array:
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    scale = q.shape[-1] ** -0.5
    y = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask="causal")
    return y.swapaxes(1, 2)
