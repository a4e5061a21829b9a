"""Treats any input as dense, and so reads what lies between strided rows.

Target: rmsnorm
Stage: verify
Expected: not_finite
Notes: C12
"""

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    if x.is_contiguous():
        return F.rms_norm(x, (x.shape[-1],), eps=eps)
    dense = x.as_strided(x.shape, torch.empty(x.shape, device="meta").stride())
    return F.rms_norm(dense, (x.shape[-1],), eps=eps)
