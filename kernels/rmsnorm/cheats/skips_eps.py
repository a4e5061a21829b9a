"""Leaves out eps, which shows only where the input is small. Expected: numeric"""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    return (wide * wide.square().mean(-1, keepdim=True).rsqrt()).to(x.dtype)
