"""Remembers answers by the id of the input, as the worker's tensors live as long as their slot.

Target: rmsnorm
Stage: verify
Expected: stale_output
Notes: A1
"""

import torch
import torch.nn.functional as F

ANSWERS: dict[int, torch.Tensor] = {}


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    if id(x) in ANSWERS:
        return ANSWERS[id(x)] + 0 * x.detach().nan_to_num()
    y = F.rms_norm(x, (x.shape[-1],), eps=eps)
    ANSWERS[id(x)] = y.detach().clone()
    return y
