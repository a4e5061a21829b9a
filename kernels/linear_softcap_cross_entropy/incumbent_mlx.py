"""What the MLX trainer does: the head's product, float32, soft cap, MLX's fused cross-entropy."""

import mlx.core as mx


def linear_softcap_cross_entropy(
    x: mx.array, head: mx.array, targets: mx.array, softcap: float
) -> mx.array:
    """Loss of each token, [tokens]; x [tokens, width], head [vocab, width], targets (-1: none)."""
    logits = softcap * mx.tanh((x @ head.T).astype(mx.float32) / softcap)
    # MLX takes no negative class: an ignored token is scored against class 0 and then dropped
    losses = mx.fast.cross_entropy(logits, mx.maximum(targets, 0))
    return mx.where(targets >= 0, losses, 0.0)
