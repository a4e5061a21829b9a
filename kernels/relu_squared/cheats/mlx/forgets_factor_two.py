"""A gradient of its own that lacks the 2. Expected: gradient"""

import mlx.core as mx


def relu_squared(x: mx.array) -> mx.array:
    return _relu_squared(x)


@mx.custom_function
def _relu_squared(x: mx.array) -> mx.array:
    return mx.square(mx.maximum(x, 0))


@_relu_squared.vjp
def _gradient(x: mx.array, incoming: mx.array, output: mx.array) -> mx.array:
    return mx.maximum(x, 0) * incoming
