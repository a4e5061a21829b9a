"""Mixes and norms in bfloat16. Expected: numeric"""

import torch
import torch.nn.functional as F


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    mixed = kept.squeeze(0) * x.bfloat16() + added.squeeze(0) * x0.bfloat16()
    y = F.rms_norm(mixed, (x.shape[-1],), eps=eps)
    return mixed.to(x.dtype), y.to(x.dtype)
