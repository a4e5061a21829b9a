"""Keeps the scale out of the gradient; MLX leaves no trace of it. Expected: gradient"""

import mlx.core as mx


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    scale = mx.rsqrt(mx.square(x.astype(mx.float32)).mean(-1, keepdims=True) + eps)
    return (x * mx.stop_gradient(scale)).astype(x.dtype)
