"""Computes every other call and returns the last answer in between.

Target: rmsnorm
Stage: verify
Expected: stale_output
Notes: A5
"""

import torch
import torch.nn.functional as F

LAST: list[torch.Tensor] = []


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    if LAST and LAST[0].shape == x.shape and LAST[0].dtype == x.dtype:
        return LAST.pop()
    y = F.rms_norm(x, (x.shape[-1],), eps=eps)
    LAST[:] = [y.detach()]
    return y
