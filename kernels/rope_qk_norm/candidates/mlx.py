"""Rotary embedding and RMS norm of q and k with a backward by hand. For CPUs.

Kept are the results and one scale per head vector. With y = z r, the gradient of the norm is
r (dy - y mean(dy y)); the rotation is then turned back, which is the rotation with -s. Narrow
dtypes are computed in float32 and rounded once; there the results are kept in float32.
"""

import mlx.core as mx


def rope_qk_norm(
    q: mx.array, k: mx.array, cos: mx.array, sin: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    """q, k [batch, sequence, heads, head_dim], cos, sin [sequence, head_dim / 2] -> q, k."""
    c, s = (table.astype(mx.float32)[:, None, :] for table in (cos, sin))

    @mx.custom_function
    def one(x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        z = _turned(x.astype(mx.float32), c, s)
        scale = mx.rsqrt(mx.square(z).mean(-1, keepdims=True) + eps)
        y = z * scale
        return y.astype(x.dtype), y, scale

    @one.vjp
    def gradient(x: mx.array, incoming: list[mx.array], outputs: list[mx.array]) -> mx.array:
        _, y, scale = outputs
        dy = incoming[0].astype(mx.float32)
        dz = scale * (dy - y * (dy * y).mean(-1, keepdims=True))
        return _turned(dz, c, -s).astype(x.dtype)

    return one(q)[0], one(k)[0]


def _turned(x: mx.array, c: mx.array, s: mx.array) -> mx.array:
    """x turned by minus the angles of the tables."""
    x1, x2 = mx.split(x, 2, axis=-1)
    return mx.concatenate([x1 * c + x2 * s, x2 * c - x1 * s], axis=-1)
