"""Multiplies by the head in bfloat16. Expected: numeric"""

import mlx.core as mx


def linear_softcap_cross_entropy(
    x: mx.array, head: mx.array, targets: mx.array, softcap: float
) -> mx.array:
    logits = (x.astype(mx.bfloat16) @ head.astype(mx.bfloat16).T).astype(mx.float32)
    losses = mx.fast.cross_entropy(softcap * mx.tanh(logits / softcap), mx.maximum(targets, 0))
    return mx.where(targets >= 0, losses, 0.0)
