"""Estimates the root mean square from the mean size, as if every row were normal.

Target: rmsnorm
Stage: verify
Expected: numeric
Notes: C2, C10
"""

import math

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    size = x.float().abs().mean(-1, keepdim=True) * math.sqrt(math.pi / 2)
    return (x.float() / (size.square() + eps).sqrt()).to(x.dtype)
