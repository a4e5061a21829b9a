"""Attention in blocks of queries with a backward by hand. For CPUs.

As in torch: each block is scored against the keys in its reach alone, and its probabilities are
kept for the backward, where MLX's fused attention makes them again. With p the probabilities and
dp = dy v', the gradient of the scores is p (dp - sum(p dp)). Narrow dtypes are computed in float32
and rounded once.
"""

import mlx.core as mx

BLOCK = 64
"""Queries. A block scores up to half as many pairs in vain as it has queries, for each of them."""


def sliding_window_attention(q: mx.array, k: mx.array, v: mx.array, window: int) -> mx.array:
    """q, k, v [batch, sequence, heads, head_dim] -> y, where i sees i - window to i."""
    length, scale = q.shape[1], q.shape[-1] ** -0.5
    blocks = [(s, min(s + BLOCK, length), max(0, s - window)) for s in range(0, length, BLOCK)]

    @mx.custom_function
    def attention(q: mx.array, k: mx.array, v: mx.array) -> list[mx.array]:
        wide_q, wide_k, wide_v = _by_head(q) * scale, _by_head(k), _by_head(v)
        parts, kept = [], []
        for start, end, first in blocks:
            scores = wide_q[:, :, start:end] @ wide_k[:, :, first:end].swapaxes(-1, -2)
            seen = _seen(start, end, first, window)
            p = mx.softmax(mx.where(seen, scores, -mx.inf), axis=-1)
            parts.append(p @ wide_v[:, :, first:end])
            kept.append(p)
        y = mx.concatenate(parts, axis=2)
        return [_by_position(y, q.dtype), *kept]

    @attention.vjp
    def gradients(
        inputs: list[mx.array], incoming: list[mx.array], outputs: list[mx.array]
    ) -> list[mx.array]:
        wide_q, wide_k, wide_v = map(_by_head, inputs)
        dy, kept = _by_head(incoming[0]), outputs[1:]
        dq, dk, dv = [], mx.zeros_like(wide_k), mx.zeros_like(wide_v)
        for (start, end, first), p in zip(blocks, kept, strict=True):
            own, near = slice(start, end), slice(first, end)
            pdp = p * (dy[:, :, own] @ wide_v[:, :, near].swapaxes(-1, -2))
            ds = (pdp - p * pdp.sum(-1, keepdims=True)) * scale
            dq.append(ds @ wide_k[:, :, near])
            dk = dk.at[:, :, near].add(ds.swapaxes(-1, -2) @ wide_q[:, :, own])
            dv = dv.at[:, :, near].add(p.swapaxes(-1, -2) @ dy[:, :, own])
        found = (mx.concatenate(dq, axis=2), dk, dv)
        return [_by_position(x, one.dtype) for x, one in zip(found, inputs, strict=True)]

    return attention(q, k, v)[0]


def _seen(start: int, end: int, first: int, window: int) -> mx.array:
    """[queries, keys]: whether query start + r sees key first + c."""
    back = mx.arange(start, end)[:, None] - mx.arange(first, end)[None, :]
    return (back >= 0) & (back <= window)


def _by_head(x: mx.array) -> mx.array:
    """[batch, heads, sequence, head_dim] in float32."""
    return x.astype(mx.float32).swapaxes(1, 2)


def _by_position(x: mx.array, dtype: mx.Dtype) -> mx.array:
    """[batch, sequence, heads, head_dim] again."""
    return x.swapaxes(1, 2).astype(dtype)
