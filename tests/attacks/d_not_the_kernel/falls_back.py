"""A kernel that always fails, and a quiet fallback to torch.

Target: relu_squared
Stage: bench
Expected: no_gain
Notes: D4
"""

import torch
import torch.nn.functional as F


def fast(x: torch.Tensor) -> torch.Tensor:
    raise NotImplementedError("the fast path is for another machine")


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    try:
        return fast(x)
    except NotImplementedError:
        return F.relu(x).square()
