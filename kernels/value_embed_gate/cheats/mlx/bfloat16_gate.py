"""Computes the gate in bfloat16. Expected: numeric"""

import mlx.core as mx


def value_embed_gate(
    x: mx.array, weight: mx.array, value: mx.array, embedding: mx.array
) -> mx.array:
    read = x[..., : weight.shape[1]].astype(mx.bfloat16)
    gate = 2 * mx.sigmoid(read @ weight.astype(mx.bfloat16).T)
    return value + gate[..., None].astype(value.dtype) * embedding
