"""What the MLX trainer does: two products with relu squared between them."""

import mlx.core as mx


def fused_mlp(x: mx.array, up: mx.array, down: mx.array) -> mx.array:
    """x [batch, sequence, width], up [hidden, width], down [width, hidden] -> the shape of x."""
    return mx.square(mx.maximum(x @ up.T, 0)) @ down.T
