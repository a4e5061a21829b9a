"""Right forward; the mixed stream's own gradient is not added to what comes through the norm.

Target: residual_rmsnorm
Stage: verify
Expected: gradient
Notes: C28
"""

import torch
import torch.nn.functional as F


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    mixed = kept.squeeze(0) * x + added.squeeze(0) * x0
    return mixed.detach() + 0.0 * mixed, F.rms_norm(mixed, (x.shape[-1],), eps=eps)
