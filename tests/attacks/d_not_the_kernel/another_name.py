"""Defines everything but the function that was asked for.

Target: relu_squared
Stage: verify
Expected: missing_function
Notes: D12
"""

import torch


def fused_relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square()
