"""Writes the result over the input, behind autograd's back. Expected: input_changed"""

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    y = F.rms_norm(x, (x.shape[-1],), eps=eps)
    x.data.copy_(y.detach())
    return y
