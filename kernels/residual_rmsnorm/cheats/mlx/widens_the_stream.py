"""Forgets that a float32 lambda makes the stream float32 in MLX. Expected: dtype"""

import mlx.core as mx


def residual_rmsnorm(
    x: mx.array, x0: mx.array, kept: mx.array, added: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    mixed = kept * x + added * x0
    return mixed, mx.fast.rms_norm(mixed, None, eps)
