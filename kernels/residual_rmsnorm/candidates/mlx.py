"""Mix and norm in one, backward by hand. For CPUs, where memory is the cost.

With the norm's r = 1 / sqrt(mean(mixed^2) + eps) and y = r mixed, all that reaches the stream is

    d = dmixed + r (dy - y mean(dy y))        dx = kept d     dx0 = added d
                                              dkept = sum(d x)     dadded = sum(d x0)

Kept are y and r, one number per row. Narrow dtypes are computed in float32 and rounded once; y is
then kept in float32, as its rounding would show in d.
"""

import mlx.core as mx


def residual_rmsnorm(
    x: mx.array, x0: mx.array, kept: mx.array, added: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    """x, x0 [batch, sequence, width], kept, added [1] float32 -> the mixed stream and its norm."""

    @mx.custom_function
    def mixed_and_normed(
        x: mx.array, x0: mx.array, kept: mx.array, added: mx.array
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        mixed = kept * x.astype(mx.float32) + added * x0.astype(mx.float32)
        scale = mx.rsqrt(mx.square(mixed).mean(-1, keepdims=True) + eps)
        y = mixed * scale
        return mixed.astype(x.dtype), y.astype(x.dtype), y, scale

    @mixed_and_normed.vjp
    def gradients(
        given: tuple[mx.array, ...], incoming: list[mx.array], outputs: list[mx.array]
    ) -> tuple[mx.array, ...]:
        x, x0, kept, added = given
        dmixed, dy = (gradient.astype(mx.float32) for gradient in incoming[:2])
        _, _, y, scale = outputs
        d = dmixed + scale * (dy - y * (dy * y).mean(-1, keepdims=True))
        return (
            (kept * d).astype(x.dtype),
            (added * d).astype(x0.dtype),
            (d * x).sum(-1).sum().reshape(1),  # by rows first: MLX adds up one after the other
            (d * x0).sum(-1).sum().reshape(1),
        )

    mixed, y, *_ = mixed_and_normed(x, x0, kept, added)
    return mixed, y
