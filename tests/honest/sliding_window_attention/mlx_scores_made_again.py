"""Keeps the logarithm of each row's sum; the backward makes the probabilities again from it.

Language: mlx
"""

import mlx.core as mx


def sliding_window_attention(q: mx.array, k: mx.array, v: mx.array, window: int) -> mx.array:
    scale = q.shape[-1] ** -0.5
    position = mx.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    seen = (back >= 0) & (back <= window)

    def scored(q: mx.array, k: mx.array) -> mx.array:
        return mx.where(seen, q @ k.swapaxes(-1, -2) * scale, -mx.inf)

    @mx.custom_function
    def attention(q: mx.array, k: mx.array, v: mx.array) -> list[mx.array]:
        q, k, v = by_head(q), by_head(k), by_head(v)
        scores = scored(q, k)
        size = mx.logsumexp(scores, axis=-1, keepdims=True)
        y = mx.exp(scores - size) @ v
        return [y.swapaxes(1, 2).astype(dtype), y, size]

    @attention.vjp
    def gradients(
        inputs: list[mx.array], incoming: list[mx.array], outputs: list[mx.array]
    ) -> list[mx.array]:
        q, k, v = map(by_head, inputs)
        dy, (_, y, size) = by_head(incoming[0]), outputs
        p = mx.exp(scored(q, k) - size)
        ds = p * (dy @ v.swapaxes(-1, -2) - (dy * y).sum(-1, keepdims=True)) * scale
        found = (ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ dy)
        return [x.swapaxes(1, 2).astype(dtype) for x in found]

    dtype = q.dtype
    return attention(q, k, v)[0]


def by_head(x: mx.array) -> mx.array:
    return x.astype(mx.float32).swapaxes(1, 2)
