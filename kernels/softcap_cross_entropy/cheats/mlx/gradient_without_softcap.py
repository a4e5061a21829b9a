"""The gradient of a cross-entropy without the soft cap. Expected: gradient"""

import mlx.core as mx


def softcap_cross_entropy(logits: mx.array, targets: mx.array, softcap: float) -> mx.array:
    wide = logits.astype(mx.float32)
    capped = wide + mx.stop_gradient(softcap * mx.tanh(wide / softcap) - wide)
    losses = mx.fast.cross_entropy(capped, mx.maximum(targets, 0))
    return mx.where(targets >= 0, losses, 0.0)
