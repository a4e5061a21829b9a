"""Knows an array again by a few of its elements, read back to Python.

Target: relu_squared
Language: mlx
Stage: verify
Expected: numeric or stale_output
Notes: A4
"""

import mlx.core as mx

ANSWERS: dict[tuple[object, ...], mx.array] = {}


def relu_squared(x: mx.array) -> mx.array:
    return _relu_squared(x)


@mx.custom_function
def _relu_squared(x: mx.array) -> mx.array:
    few = mx.round(mx.stop_gradient(x).reshape(-1)[:1].astype(mx.float32))
    key = (tuple(x.shape), x.dtype, str(few.tolist()))
    if key not in ANSWERS:
        ANSWERS[key] = mx.square(mx.maximum(mx.stop_gradient(x), 0))
    return ANSWERS[key]


@_relu_squared.vjp
def _gradient(x: mx.array, incoming: mx.array, output: mx.array) -> mx.array:
    return 2 * mx.maximum(x, 0) * incoming
