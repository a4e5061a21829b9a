"""MLX's own fused norm, which is the incumbent, in other words.

Target: rmsnorm
Language: mlx
Stage: bench
Expected: no_gain
Notes: D6, F5
"""

import mlx.core as mx

NORM = mx.fast.rms_norm


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    y = NORM(x, None, eps)
    return y
