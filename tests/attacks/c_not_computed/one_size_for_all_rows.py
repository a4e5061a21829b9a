"""Divides every row by the root mean square of the whole tensor.

Target: rmsnorm
Stage: verify
Expected: numeric
Notes: C2
"""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()  # once: two casts would round two gradients, which cancel
    return (wide * (wide.square().mean() + eps).rsqrt()).to(x.dtype)
