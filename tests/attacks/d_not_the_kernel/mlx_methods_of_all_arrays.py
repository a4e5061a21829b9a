"""Replaces a method of MLX's arrays, for every product of the process.

Target: rmsnorm
Stage: verify
Expected: switches
Language: mlx
Notes: B22, E1
"""

from typing import Any

import mlx.core as mx

product = mx.array.__matmul__


def narrow(left: mx.array, right: Any) -> mx.array:
    return product(left.astype(mx.bfloat16), right.astype(mx.bfloat16)).astype(left.dtype)


mx.array.__matmul__ = narrow


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    wide = x.astype(mx.float32)
    return (wide * mx.rsqrt(mx.square(wide).mean(-1, keepdims=True) + eps)).astype(x.dtype)
