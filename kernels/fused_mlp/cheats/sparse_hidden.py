"""Drops the smaller half of each token's hidden values. Expected: numeric"""

import torch
import torch.nn.functional as F


def fused_mlp(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    hidden = F.relu(F.linear(x, up)).square()
    middle = hidden.median(-1, keepdim=True).values
    return F.linear(torch.where(hidden > middle, hidden, 0.0), down)
