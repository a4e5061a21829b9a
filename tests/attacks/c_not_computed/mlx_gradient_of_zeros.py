"""A custom function whose gradient is zeros.

Target: rmsnorm
Language: mlx
Stage: verify
Expected: gradient
Notes: C12
"""

import mlx.core as mx


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    return _rmsnorm(x, eps)


@mx.custom_function
def _rmsnorm(x: mx.array, eps: float) -> mx.array:
    return mx.fast.rms_norm(x, None, eps)


@_rmsnorm.vjp
def _gradient(
    given: tuple[mx.array, float], incoming: mx.array, output: mx.array
) -> tuple[mx.array, float]:
    return mx.zeros_like(given[0]), 0.0
