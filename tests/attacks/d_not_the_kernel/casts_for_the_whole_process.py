"""Leaves autocast on, for the CPU, in which every product of the process then becomes bfloat16.

Target: rmsnorm
Stage: verify
Expected: switches
Notes: C6, D8
"""

import torch
import torch.nn.functional as F

torch.set_autocast_enabled("cpu", True)


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return F.rms_norm(x, (x.shape[-1],), eps=eps)
