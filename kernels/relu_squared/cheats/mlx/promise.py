"""Returns a function that would do the work when it is called. Expected: not_a_tensor"""

from typing import Any

import mlx.core as mx


def relu_squared(x: mx.array) -> Any:
    return lambda: mx.square(mx.maximum(x, 0))
