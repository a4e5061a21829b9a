"""Head and soft-capped cross-entropy in chunks of tokens; the backward makes the logits anew.

The incumbent holds the logits and several arrays of their size. Here only a chunk of them is in
memory at a time, forward and backward, for one product more. With t = tanh(z / c), e = exp(c t) is
within float32 whatever z, so that no largest logit is looked for; with its sum R over all classes
but the target, and S = R + e_target

    loss = log(1 + R / e_target)
    dz = dy (e / S) (1 - t^2), and of the target's element -dy (R / S) (1 - t^2)

where 1 - t^2 is 4 q / (1 + q)^2 with q = exp(-2 |z| / c): no digit is lost where the target is all
but certain. R is added up in blocks: MLX adds a row up in order, and in a young model most of its
terms are alike, so that each addition rounds the same way. Chunks depend on the one before, or MLX
would put up many at once. Products are computed in the dtype given, as the incumbent does, all that
lies between them in float32.
"""

import mlx.core as mx

CHUNK_ELEMENTS = 2**20
"""Logits per chunk: 4 MiB in float32."""

BLOCK = 64
"""Exponentials that are added up in order; of a row of 8192 that makes 128 sums."""

LARGEST_SOFTCAP = 35.0
"""Float32 has to hold exp(softcap) times the vocabulary, and exp(-2 softcap) over it."""


def linear_softcap_cross_entropy(
    x: mx.array, head: mx.array, targets: mx.array, softcap: float
) -> mx.array:
    """Loss of each token, [tokens]; x [tokens, width], head [vocab, width], targets (-1: none)."""
    if not 0 < softcap <= LARGEST_SOFTCAP:
        raise ValueError(f"softcap must lie between 0 and {LARGEST_SOFTCAP}, not {softcap}")
    classes, counts = mx.maximum(targets, 0)[:, None], targets >= 0
    size = max(1, CHUNK_ELEMENTS // head.shape[0])
    chunks = [slice(start, start + size) for start in range(0, x.shape[0], size)]

    @mx.custom_function
    def losses(x: mx.array, head: mx.array) -> mx.array:
        done: list[mx.array] = []
        for chunk in chunks:
            e = _exponentials(_after(x[chunk], done[-1:]) @ head.T, softcap)
            target, rest = _divided(e, classes[chunk])
            done.append(mx.where(counts[chunk], mx.log1p(rest / target), 0.0))
        return mx.concatenate(done)

    @losses.vjp
    def gradients(
        given: tuple[mx.array, ...], incoming: mx.array, _: mx.array
    ) -> tuple[mx.array, mx.array]:
        x, head = given
        weight = 4 * mx.where(counts, incoming, 0.0)
        done: list[mx.array] = []
        of_head = mx.zeros(head.shape)
        for chunk in chunks:
            rows = _after(x[chunk], [of_head, *done[-1:]])
            logits = rows @ head.T
            e, q = _exponentials(logits, softcap), _sizes(logits, softcap)
            target, rest = _divided(e, classes[chunk])
            shares = mx.put_along_axis(e, classes[chunk], -rest[:, None], axis=-1)
            scale = (weight[chunk] / (target + rest))[:, None]
            dz = (scale * shares * (q / mx.square(1 + q))).astype(x.dtype)
            done.append(dz @ head)
            of_head = of_head + (dz.T @ rows).astype(mx.float32)
        return mx.concatenate(done), of_head.astype(head.dtype)

    return losses(x, head)


def _exponentials(logits: mx.array, softcap: float) -> mx.array:
    """exp(c tanh(z / c)), in float32."""
    return mx.exp(mx.tanh(logits.astype(mx.float32) / softcap) * softcap)


def _sizes(logits: mx.array, softcap: float) -> mx.array:
    """exp(-2 |z| / c), in float32."""
    return mx.exp(mx.abs(logits.astype(mx.float32)) * (-2 / softcap))


def _divided(e: mx.array, classes: mx.array) -> tuple[mx.array, mx.array]:
    """Of each row of e [rows, vocab] the target's element, and the sum of all others."""
    target = mx.take_along_axis(e, classes, -1)
    others = mx.put_along_axis(e, classes, mx.zeros_like(target), axis=-1)
    return target.squeeze(-1), _row_sums(others)


def _row_sums(e: mx.array) -> mx.array:
    """Sums over the last axis of e [rows, columns]."""
    whole = e.shape[-1] // BLOCK * BLOCK
    total = e[:, whole:].sum(-1)
    return total + e[:, :whole].reshape(e.shape[0], -1, BLOCK).sum(-1).sum(-1) if whole else total


def _after(rows: mx.array, before: list[mx.array]) -> mx.array:
    """The rows, not to be read before what comes before has been computed."""
    return mx.depends([rows], before)[0] if before else rows
