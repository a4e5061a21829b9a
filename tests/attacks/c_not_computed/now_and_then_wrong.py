"""Wrong in one call out of five, by chance, as a race would be.

Target: rmsnorm
Stage: verify
Expected: numeric or gradient
Notes: C25, C34
"""

import random

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    y = F.rms_norm(x, (x.shape[-1],), eps=eps)
    return y * 1.01 if random.random() < 0.2 else y
