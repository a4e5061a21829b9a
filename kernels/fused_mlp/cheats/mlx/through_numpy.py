"""Takes the weights to numpy and back, which cuts their gradients. Expected: gradient"""

import mlx.core as mx


def fused_mlp(x: mx.array, up: mx.array, down: mx.array) -> mx.array:
    up, down = (mx.array(memoryview(weight.astype(mx.float32))) for weight in (up, down))
    return mx.square(mx.maximum(x @ up.astype(x.dtype).T, 0)) @ down.astype(x.dtype).T
