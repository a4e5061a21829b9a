"""Two halves of the last axis, each evaluated as it is ready, joined at the end.

Language: mlx
"""

import mlx.core as mx


def relu_squared(x: mx.array) -> mx.array:
    middle = x.shape[-1] // 2
    parts = [mx.square(mx.maximum(part, 0)) for part in mx.split(x, [middle], axis=-1)]
    return mx.concatenate(parts, axis=-1)
