"""Counts what is below a thousandth as zero.

Target: relu_squared
Stage: verify
Expected: numeric or gradient
Notes: C1
"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 1e-3, x, 0.0 * x).square()
