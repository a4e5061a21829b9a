"""Only the very last element is wrong, by one percent.

Target: relu_squared
Stage: verify
Expected: numeric
Notes: C14
"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    y = torch.relu(x).square()
    off = torch.zeros_like(y)
    off.view(-1)[-1] = 1.0
    return y * (1 + 0.02 * off) + 1e-3 * off * x.detach().abs().max()
