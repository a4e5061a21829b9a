"""Forward by MLX's norm, backward written out in float32.

Language: mlx
"""

import mlx.core as mx


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    @mx.custom_function
    def normed(x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, None, eps)

    @normed.vjp
    def gradient(x: mx.array, incoming: mx.array, output: mx.array) -> mx.array:
        wide, dy = x.astype(mx.float32), incoming.astype(mx.float32)
        scale = mx.rsqrt(wide.square().mean(-1, keepdims=True) + eps)
        y = wide * scale
        return (scale * (dy - y * (dy * y).mean(-1, keepdims=True))).astype(x.dtype)

    return normed(x)
