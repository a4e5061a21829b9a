"""Mixes with *= and +=, which in MLX change the caller's array. Expected: input_changed"""

import mlx.core as mx


def residual_rmsnorm(
    x: mx.array, x0: mx.array, kept: mx.array, added: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    dtype = x.dtype
    x *= kept
    x += added * x0
    mixed = x.astype(dtype)
    return mixed, mx.fast.rms_norm(mixed, None, eps)
