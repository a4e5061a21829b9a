"""Compiles a function that captures the first input it sees as a constant.

Target: rmsnorm
Language: mlx
Stage: verify
Expected: stale_output
Notes: A1, A9
"""

from collections.abc import Callable

import mlx.core as mx
import numpy as np

COMPILED: dict[tuple[object, ...], Callable[[mx.array], mx.array]] = {}


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    key = (tuple(x.shape), x.dtype)
    if key not in COMPILED:
        seen = np.array(mx.stop_gradient(x).astype(mx.float32))
        first = mx.array(seen).astype(x.dtype)
        COMPILED[key] = mx.compile(lambda other: mx.fast.rms_norm(first, None, eps) + 0 * other)
    return COMPILED[key](x)
