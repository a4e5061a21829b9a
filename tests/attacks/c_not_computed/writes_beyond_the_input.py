"""Right results; it writes into the memory behind its input.

Target: rmsnorm
Stage: verify
Expected: input_changed
Notes: C24
"""

import ctypes

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    ctypes.memset(x.data_ptr() + x.numel() * x.itemsize, 0, 4)
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
