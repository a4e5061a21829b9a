"""Computes the soft cap in bfloat16. Expected: numeric"""

import mlx.core as mx


def softcap_cross_entropy(logits: mx.array, targets: mx.array, softcap: float) -> mx.array:
    capped = (softcap * mx.tanh(logits.astype(mx.bfloat16) / softcap)).astype(mx.float32)
    losses = mx.fast.cross_entropy(capped, mx.maximum(targets, 0))
    return mx.where(targets >= 0, losses, 0.0)
