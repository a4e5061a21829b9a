"""Cuts the gradients of both lambdas, where MLX leaves zeros and no error. Expected: gradient"""

import mlx.core as mx


def residual_rmsnorm(
    x: mx.array, x0: mx.array, kept: mx.array, added: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    kept, added = mx.stop_gradient(kept), mx.stop_gradient(added)
    mixed = (kept * x + added * x0).astype(x.dtype)
    return mixed, mx.fast.rms_norm(mixed, None, eps)
