"""Puts the result where its input lies and returns that.

Target: relu_squared
Language: mlx
Stage: verify
Expected: input_changed
Notes: A7, C6
"""

import mlx.core as mx


def relu_squared(x: mx.array) -> mx.array:
    x[...] = mx.square(mx.maximum(x, 0))
    return x
