"""Asks the garbage collector for a tensor that looks like the expected output.

Target: rmsnorm
Stage: verify
Expected: numeric or not_finite
Notes: A10
"""

import gc

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    for one in gc.get_objects():
        like = isinstance(one, torch.Tensor) and one is not x and one.shape == x.shape
        if like and one.dtype == x.dtype and not one.requires_grad:
            return one.clone()
    return torch.zeros_like(x)
