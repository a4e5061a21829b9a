"""Keeps the answer as an attribute of the input tensor itself.

Target: rmsnorm
Stage: verify
Expected: stale_output
Notes: A7
"""

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    if not hasattr(x, "answer"):
        y = F.rms_norm(x, (x.shape[-1],), eps=eps)
        x.answer = y.detach().clone()
        return y
    return x.answer
