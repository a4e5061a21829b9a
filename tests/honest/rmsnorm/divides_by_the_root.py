"""Divides by the root instead of multiplying by its inverse."""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    return (wide / (wide.pow(2).sum(-1, keepdim=True) / x.shape[-1] + eps).sqrt()).to(x.dtype)
