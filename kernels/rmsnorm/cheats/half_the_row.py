"""Estimates the mean square from the first half of each row. Expected: numeric"""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    seen = wide[..., : (x.shape[-1] + 1) // 2]
    return (wide * (seen.square().mean(-1, keepdim=True) + eps).rsqrt()).to(x.dtype)
