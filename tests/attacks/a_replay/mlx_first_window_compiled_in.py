"""Compiles one function for all layers, with the window of the first call as a constant.

Target: sliding_window_attention
Language: mlx
Stage: verify
Expected: numeric
Notes: A1, A9
"""

from collections.abc import Callable

import mlx.core as mx

COMPILED: list[Callable[[mx.array, mx.array, mx.array], mx.array]] = []


def sliding_window_attention(q: mx.array, k: mx.array, v: mx.array, window: int) -> mx.array:
    def attention(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        position = mx.arange(q.shape[1])
        back = position[:, None] - position[None, :]
        seen = (back >= 0) & (back <= window)
        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
        scale = q.shape[-1] ** -0.5
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=seen)
        return y.swapaxes(1, 2)

    if not COMPILED:
        COMPILED.append(mx.compile(attention))
    return COMPILED[0](q, k, v)
