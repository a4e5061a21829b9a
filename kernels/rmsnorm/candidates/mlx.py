"""RMS norm with a backward written by hand that starts from the result. For CPUs.

With r = 1 / sqrt(mean(x^2) + eps) and y = x r, the gradient is r (dy - y mean(dy y)). r is kept, a
number per row, and so is y, which the layer that follows keeps anyway. Narrow dtypes are computed
in float32 and rounded once; there x is kept, as the rounding of y would show in the gradient.
"""

import mlx.core as mx


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    """x [batch, sequence, width] -> the same shape, every row divided by its root mean square."""

    @mx.custom_function
    def normalised(x: mx.array) -> tuple[mx.array, mx.array]:
        wide = x.astype(mx.float32)
        scale = mx.rsqrt(mx.square(wide).mean(-1, keepdims=True) + eps)
        return (wide * scale).astype(x.dtype), scale

    @normalised.vjp
    def gradient(x: mx.array, incoming: list[mx.array], outputs: list[mx.array]) -> mx.array:
        y, scale = outputs
        if x.dtype != mx.float32:
            y = x.astype(mx.float32) * scale
        dy = incoming[0].astype(mx.float32)
        return (scale * (dy - y * (dy * y).mean(-1, keepdims=True))).astype(x.dtype)

    return normalised(x)[0]
