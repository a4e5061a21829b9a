"""Right forward, but outside the graph: nothing is learnt through it. Expected: gradient_missing"""

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x.detach(), (x.shape[-1],), eps=eps)
