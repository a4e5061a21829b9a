"""Adds the squares from the last to the first."""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    mean_square = wide.flip(-1).square().mean(-1, keepdim=True)
    return (wide * (mean_square + eps).rsqrt()).to(x.dtype)
