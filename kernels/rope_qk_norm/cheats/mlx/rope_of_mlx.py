"""Takes MLX's own rope, which makes its angles itself and turns the other way. Expected: numeric"""

import mlx.core as mx


def rope_qk_norm(
    q: mx.array, k: mx.array, cos: mx.array, sin: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    return _one(q, eps), _one(k, eps)


def _one(x: mx.array, eps: float) -> mx.array:
    turned = mx.fast.rope(
        x.swapaxes(1, 2), x.shape[-1], traditional=False, base=10000.0, scale=1.0, offset=0
    )
    return mx.fast.rms_norm(turned.swapaxes(1, 2), None, eps)
