"""What the MLX trainer does after the output projection: float32, soft cap, fused cross-entropy."""

import mlx.core as mx


def softcap_cross_entropy(logits: mx.array, targets: mx.array, softcap: float) -> mx.array:
    """Loss of each token, [tokens], from logits [tokens, vocab] and targets [tokens] (-1: none)."""
    logits = softcap * mx.tanh(logits.astype(mx.float32) / softcap)
    # MLX takes no negative class: an ignored token is scored against class 0 and then dropped
    losses = mx.fast.cross_entropy(logits, mx.maximum(targets, 0))
    return mx.where(targets >= 0, losses, 0.0)
