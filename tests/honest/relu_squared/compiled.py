"""Compiled by torch.compile, where there is a C++ compiler. Needs: compiler"""

import torch


@torch.compile(dynamic=True)
def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square()
