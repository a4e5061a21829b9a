"""Computes in bfloat16 whatever it is given, and widens the result.

Target: rmsnorm
Language: mlx
Stage: verify
Expected: numeric
Notes: C3
"""

import mlx.core as mx


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    return mx.fast.rms_norm(x.astype(mx.bfloat16), None, eps).astype(x.dtype)
