"""A candidate in Metal that computes with MLX alone.

Target: rmsnorm
Stage: verify
Expected: no_metal_kernel
Language: metal
Notes: new with Metal
"""

import mlx.core as mx


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    wide = x.astype(mx.float32)
    return (wide * mx.rsqrt(mx.square(wide).mean(-1, keepdims=True) + eps)).astype(x.dtype)
