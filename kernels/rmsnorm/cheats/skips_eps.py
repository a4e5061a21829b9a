"""Leaves out eps, which shows only where the input is small. Expected: numeric"""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return (x.float() * x.float().square().mean(-1, keepdim=True).rsqrt()).to(x.dtype)
