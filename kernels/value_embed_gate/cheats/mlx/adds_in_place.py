"""Adds with +=, which in MLX changes the caller's array. Expected: input_changed"""

import mlx.core as mx


def value_embed_gate(
    x: mx.array, weight: mx.array, value: mx.array, embedding: mx.array
) -> mx.array:
    gate = 2 * mx.sigmoid(x[..., : weight.shape[1]] @ weight.T)
    value += gate[..., None] * embedding
    return value
