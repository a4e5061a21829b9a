"""Puts a function of its own in the place of `mx.fast.metal_kernel`.

Target: rmsnorm
Stage: verify
Expected: switches
Language: metal
Notes: new with Metal
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx


def metal_kernel(*described: Any) -> Callable[[mx.array, float], mx.array]:
    return lambda x, eps: mx.fast.rms_norm(x, None, eps)


mx.fast.metal_kernel = metal_kernel
KERNEL = mx.fast.metal_kernel("rmsnorm", ["x", "eps"], ["y"], "y[0] = x[0];")


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    return KERNEL(x, eps)
