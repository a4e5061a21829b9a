"""Leaves out eps, which shows only where the input is small. Expected: numeric"""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    mean_square = wide.square().mean(-1, keepdim=True)
    return (wide * torch.where(mean_square > 0, mean_square, eps).rsqrt()).to(x.dtype)
