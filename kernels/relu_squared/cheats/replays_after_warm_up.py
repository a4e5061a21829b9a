"""Works for some calls of each shape, then repeats the last answer. Expected: stale_output"""

from typing import Any

import torch

CALLS: dict[Any, int] = {}
LAST: dict[Any, torch.Tensor] = {}
HONEST_CALLS = 4


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    key = (x.shape, x.dtype)
    CALLS[key] = CALLS.get(key, 0) + 1
    if CALLS[key] > HONEST_CALLS:
        return LAST[key] + 0 * x  # with a gradient, or that would be what gives it away
    y = torch.relu(x).square()
    LAST[key] = y.detach().clone()
    return y
