"""Soft-capped cross-entropy that never looks for a row's largest logit, with its gradient by hand.

With t = tanh(z / c) the capped logits are c t, and none is above c. So with e = exp(c (t - 1)),
which is at most 1 and at least exp(-2 c), and its sum S over the row,

    loss = log S + c (1 - t_target)        dz = dy (e / S - onehot) (1 - t^2)

e and t are kept from the forward, so the backward is four operations per logit and computes nothing
transcendental. The target's element is written by itself, where e / S - 1 = expm1(-loss) keeps its
digits.
"""

import mlx.core as mx

LARGEST_SOFTCAP = 35.0
"""A probability can be as small as exp(-2 softcap) / vocab, which float32 still has to hold."""


def softcap_cross_entropy(logits: mx.array, targets: mx.array, softcap: float) -> mx.array:
    """Loss of each token, [tokens], from logits [tokens, vocab] and targets [tokens] (-1: none)."""
    if not 0 < softcap <= LARGEST_SOFTCAP:
        raise ValueError(f"softcap must lie between 0 and {LARGEST_SOFTCAP}, not {softcap}")
    classes = mx.maximum(targets, 0)[:, None]
    counts = targets[:, None] >= 0

    @mx.custom_function
    def losses(logits: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        t = mx.tanh(logits.astype(mx.float32) / softcap)
        e = mx.exp(softcap * (t - 1))
        at_target = mx.take_along_axis(t, classes, axis=-1)
        loss = mx.log(e.sum(-1, keepdims=True)) + softcap * (1 - at_target)
        return mx.where(counts, loss, 0.0).squeeze(-1), e, t

    @losses.vjp
    def gradient(logits: mx.array, incoming: list[mx.array], outputs: list[mx.array]) -> mx.array:
        loss, e, t = outputs
        weight = mx.where(counts, incoming[0][:, None], 0.0)
        slope = 1 - t * t
        of_rest = (weight / e.sum(-1, keepdims=True)) * e * slope
        at_target = mx.take_along_axis(slope, classes, axis=-1) * weight * mx.expm1(-loss)[:, None]
        return mx.put_along_axis(of_rest, classes, at_target, axis=-1).astype(logits.dtype)

    return losses(logits)[0]
