"""Leaves every tenth row as it is, for checkers that let a share of elements be wrong.

Target: rmsnorm
Stage: verify
Expected: numeric
Notes: C14
"""

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    rows = x.reshape(-1, x.shape[-1])
    y = F.rms_norm(rows, (x.shape[-1],), eps=eps)
    left = (torch.arange(len(rows)) % 10 == 9)[:, None]
    return torch.where(left, rows, y).reshape(x.shape)
