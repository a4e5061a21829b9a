"""What the MLX trainer does before a layer: mix with the embedding, then MLX's fused RMS norm.

A float32 lambda times a bfloat16 array is float32 in MLX: the mix is cast back, or the residual
stream would widen.
"""

import mlx.core as mx


def residual_rmsnorm(
    x: mx.array, x0: mx.array, kept: mx.array, added: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    """x, x0 [batch, sequence, width], kept, added [1] float32 -> the mixed stream and its norm."""
    mixed = (kept * x + added * x0).astype(x.dtype)
    return mixed, mx.fast.rms_norm(mixed, None, eps)
