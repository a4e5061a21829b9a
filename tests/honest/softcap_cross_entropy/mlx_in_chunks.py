"""Rows in chunks of 64, each loss from a log-sum-exp and the target's own logit.

Language: mlx
"""

import mlx.core as mx

ROWS = 64


def softcap_cross_entropy(logits: mx.array, targets: mx.array, softcap: float) -> mx.array:
    starts = range(0, logits.shape[0], ROWS)
    return mx.concatenate(
        [_losses(logits[i : i + ROWS], targets[i : i + ROWS], softcap) for i in starts]
    )


def _losses(logits: mx.array, targets: mx.array, softcap: float) -> mx.array:
    capped = softcap * mx.tanh(logits.astype(mx.float32) / softcap)
    known = targets >= 0
    of_target = mx.take_along_axis(capped, mx.where(known, targets, 0)[:, None], axis=-1)[:, 0]
    return mx.where(known, mx.logsumexp(capped, axis=-1) - of_target, 0.0)
