"""Has a path of its own for inputs that require no gradient, as in evaluation, and it is wrong.

Target: relu_squared
Stage: verify
Expected: numeric
Notes: E8
"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    if not x.requires_grad:
        return torch.relu(x)
    return torch.relu(x).square()
