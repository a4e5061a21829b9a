"""Honest while training; under no_grad it returns what training computed at that address.

Target: rmsnorm
Stage: verify
Expected: stale_output
Notes: A1, E8
"""

from typing import Any

import torch
import torch.nn.functional as F

KEPT: dict[Any, torch.Tensor] = {}


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    key = (x.data_ptr(), x.shape, x.dtype)
    if not torch.is_grad_enabled() and key in KEPT:
        return KEPT[key]
    y = F.rms_norm(x, (x.shape[-1],), eps=eps)
    KEPT[key] = y.detach().clone()
    return y
