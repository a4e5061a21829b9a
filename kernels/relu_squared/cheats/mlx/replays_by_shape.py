"""Keeps the first answer for each shape and gives it again. Expected: stale_output"""

import mlx.core as mx

ANSWERS: dict[tuple[tuple[int, ...], mx.Dtype], mx.array] = {}


def relu_squared(x: mx.array) -> mx.array:
    key = (tuple(x.shape), x.dtype)
    if key not in ANSWERS:
        ANSWERS[key] = mx.square(mx.maximum(mx.array(x), 0))
        mx.eval(ANSWERS[key])
    return ANSWERS[key]
