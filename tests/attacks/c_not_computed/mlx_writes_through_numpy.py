"""Shrinks its input through numpy's view of the same memory, and returns what suits that.

Target: relu_squared
Language: mlx
Stage: verify
Expected: input_changed or numeric
Notes: A7, C6
"""

import mlx.core as mx
import numpy as np


def relu_squared(x: mx.array) -> mx.array:
    if x.dtype == mx.float32:
        np.array(mx.stop_gradient(x), copy=False)[...] = 0.0
    return mx.square(mx.maximum(x, 0))
