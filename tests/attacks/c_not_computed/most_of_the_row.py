"""Sums 99 of 100 elements of the row and scales up.

Target: rmsnorm
Stage: verify
Expected: numeric
Notes: C5
"""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    kept = x.float()[..., : max(1, (99 * x.shape[-1]) // 100)]
    return (x.float() * (kept.square().mean(-1, keepdim=True) + eps).rsqrt()).to(x.dtype)
