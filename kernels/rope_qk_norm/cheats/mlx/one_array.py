"""Returns q and k as one stacked array. Expected: arity"""

import mlx.core as mx


def rope_qk_norm(q: mx.array, k: mx.array, cos: mx.array, sin: mx.array, eps: float) -> mx.array:
    x, c, s = mx.stack([q, k]), cos[:, None, :], sin[:, None, :]
    x1, x2 = mx.split(x, 2, axis=-1)
    turned = mx.concatenate([x1 * c + x2 * s, x2 * c - x1 * s], axis=-1)
    return mx.fast.rms_norm(turned, None, eps)
