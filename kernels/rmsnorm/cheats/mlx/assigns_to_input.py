"""Writes the result into the array it was given. Expected: input_changed"""

import mlx.core as mx


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    y = mx.fast.rms_norm(x, None, eps)
    x[...] = y
    return y
