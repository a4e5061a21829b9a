"""What the MLX trainer does in layers with a value embedding: a gate per head, read from x."""

import mlx.core as mx


def value_embed_gate(
    x: mx.array, weight: mx.array, value: mx.array, embedding: mx.array
) -> mx.array:
    """x [batch, sequence, width], weight [heads, channels], value and embedding
    [batch, sequence, heads, head_dim] -> the shape of value."""
    gate = x[..., : weight.shape[1]] @ weight.T
    return value + (2 * mx.sigmoid(gate))[..., None] * embedding
