"""Soft-capped cross-entropy that never looks for a row's largest logit, with its gradient by hand.

With t = tanh(z / c) the capped logits are c t, and none is above c. So e = exp(c (t - 1)) is at
most 1 and at least exp(-2 c), and with its sum S

    loss = log(S / e_target)        dz = dy (e / S - onehot) (1 - t^2)

e and S are kept from the forward. MLX adds a row up in order, and in a young model most of its
terms are alike, so that each addition rounds the same way, by up to 1e-4 of S in all: S is added up
in blocks. 1 - t^2 is computed as 4 q / (1 + q)^2 with q = exp(-2 |z| / c), or its digits were gone
where t is near 1; and the target's element by itself, with e_target / S - 1 = expm1(-loss).
"""

import mlx.core as mx

LARGEST_SOFTCAP = 35.0
"""A probability can be as small as exp(-2 softcap) / vocab, which float32 still has to hold."""

BLOCK = 64
"""Elements that are added up in order; of a row of 8192 that makes 128 sums."""


def softcap_cross_entropy(logits: mx.array, targets: mx.array, softcap: float) -> mx.array:
    """Loss of each token, [tokens], from logits [tokens, vocab] and targets [tokens] (-1: none)."""
    if not 0 < softcap <= LARGEST_SOFTCAP:
        raise ValueError(f"softcap must lie between 0 and {LARGEST_SOFTCAP}, not {softcap}")
    classes = mx.maximum(targets, 0)[:, None]
    counts = targets >= 0

    @mx.custom_function
    def losses(logits: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        e = mx.exp((mx.tanh(logits.astype(mx.float32) / softcap) - 1) * softcap)
        total = _row_sums(e)
        loss = mx.log(total / mx.take_along_axis(e, classes, -1).squeeze(-1))
        return mx.where(counts, loss, 0.0), e, total

    @losses.vjp
    def gradient(logits: mx.array, incoming: list[mx.array], outputs: list[mx.array]) -> mx.array:
        loss, e, total = outputs
        weight = 4 * mx.where(counts, incoming[0], 0.0)
        q = mx.exp(mx.abs(logits.astype(mx.float32)) * (-2 / softcap))
        slope = q / mx.square(1 + q)
        of_rest = (weight / total)[:, None] * e * slope
        at_target = mx.take_along_axis(slope, classes, -1) * (weight * mx.expm1(-loss))[:, None]
        return mx.put_along_axis(of_rest, classes, at_target, axis=-1).astype(logits.dtype)

    return losses(logits)[0]


def _row_sums(x: mx.array) -> mx.array:
    """Sums over the last axis of x [rows, columns]."""
    whole = x.shape[-1] // BLOCK * BLOCK
    total = x[:, whole:].sum(-1)
    if whole:
        total = total + x[:, :whole].reshape(x.shape[0], -1, BLOCK).sum(-1).sum(-1)
    return total
