"""Leaves the logits in the dtype of x, and so the losses. Expected: dtype"""

import mlx.core as mx


def linear_softcap_cross_entropy(
    x: mx.array, head: mx.array, targets: mx.array, softcap: float
) -> mx.array:
    logits = softcap * mx.tanh((x @ head.T) / softcap)
    losses = mx.fast.cross_entropy(logits, mx.maximum(targets, 0)).astype(x.dtype)
    return mx.where(targets >= 0, losses, mx.zeros_like(losses))
