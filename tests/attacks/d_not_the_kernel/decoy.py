"""Defines a kernel that looks clever, never calls it, and does what the incumbent does.

Target: relu_squared
Stage: bench
Expected: no_gain
Notes: D3
"""

import torch
import torch.nn.functional as F

BLOCK = 1024


def fused_relu_squared_kernel(x: torch.Tensor, out: torch.Tensor) -> None:
    """One pass over memory, in blocks that fit the cache."""
    for start in range(0, x.numel(), BLOCK):
        part = x.view(-1)[start : start + BLOCK].clamp_min(0)
        torch.mul(part, part, out=out.view(-1)[start : start + BLOCK])


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    if x.numel() < 0:
        fused_relu_squared_kernel(x, torch.empty_like(x))
    return F.relu(x).square()
