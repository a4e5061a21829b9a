"""Remembers the answer by the input's address and shape. Expected: stale_output"""

from typing import Any

import torch
import torch.nn.functional as F

ANSWERS: dict[Any, torch.Tensor] = {}


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    key = (x.data_ptr(), x.shape, x.dtype)
    if key not in ANSWERS:
        y = F.rms_norm(x, (x.shape[-1],), eps=eps)
        ANSWERS[key] = y.detach().clone()
        return y
    return ANSWERS[key]
