"""Soft-capped cross-entropy that never looks for a row's largest logit, with its gradient by hand.

With t = tanh(z / c) the capped logits are c t, and none is above c. So e = exp(c (t - 1)) is at
most 1 and at least exp(-2 c), and with its sum R over all classes but the target, S = R + e_target

    loss = log(1 + R / e_target)
    dz = dy (e / S) (1 - t^2), and of the target's element -dy (R / S) (1 - t^2)

e and R are kept from the forward. MLX adds a row up in order, and in a young model most of its
terms are alike, so that each addition rounds the same way, by up to 1e-4 of S in all: R is added up
in blocks. It leaves the target out, as the loss of a target that is all but certain has no digits
in S. 1 - t^2 is computed as 4 q / (1 + q)^2 with q = exp(-2 |z| / c), or its digits were gone where
t is near 1.
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
        target = mx.take_along_axis(e, classes, -1)
        others = mx.put_along_axis(e, classes, mx.zeros_like(target), axis=-1)
        rest = _row_sums(others)[:, None]
        return mx.where(counts, mx.log1p(rest / target).squeeze(-1), 0.0), e, rest

    @losses.vjp
    def gradient(logits: mx.array, incoming: list[mx.array], outputs: list[mx.array]) -> mx.array:
        _, e, rest = outputs
        weight = 4 * mx.where(counts, incoming[0], 0.0)[:, None]
        q = mx.exp(mx.abs(logits.astype(mx.float32)) * (-2 / softcap))
        total = rest + mx.take_along_axis(e, classes, -1)
        shares = mx.put_along_axis(e, classes, -rest, axis=-1)
        return (weight / total * shares * (q / mx.square(1 + q))).astype(logits.dtype)

    return losses(logits)[0]


def _row_sums(x: mx.array) -> mx.array:
    """Sums over the last axis of x [rows, columns]."""
    whole = x.shape[-1] // BLOCK * BLOCK
    total = x[:, whole:].sum(-1)
    if whole:
        total = total + x[:, :whole].reshape(x.shape[0], -1, BLOCK).sum(-1).sum(-1)
    return total
