"""Exact for its first calls, then in bfloat16, which is faster and wrong.

Target: rmsnorm
Stage: bench
Expected: timed_output_wrong or numeric
Notes: C11, E7
"""

import torch
import torch.nn.functional as F

CALLS = [0]


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    CALLS[0] += 1
    kept = x if CALLS[0] <= 200 else x.bfloat16()
    return F.rms_norm(kept, (x.shape[-1],), eps=eps).to(x.dtype)
