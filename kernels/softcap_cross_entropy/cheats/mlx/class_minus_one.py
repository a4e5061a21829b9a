"""Hands ignored targets to MLX as they are, which scores them all the same. Expected: numeric"""

import mlx.core as mx


def softcap_cross_entropy(logits: mx.array, targets: mx.array, softcap: float) -> mx.array:
    return mx.fast.cross_entropy(softcap * mx.tanh(logits.astype(mx.float32) / softcap), targets)
