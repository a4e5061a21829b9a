"""Divides by the largest element of each row first, as one does against overflow."""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    largest = wide.detach().abs().amax(-1, keepdim=True).clamp_min(2.0**-40)
    small = wide / largest
    return (small / (small.square().mean(-1, keepdim=True) + eps / largest**2).sqrt()).to(x.dtype)
