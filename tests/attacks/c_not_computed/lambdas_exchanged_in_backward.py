"""Right forward; backward hands each lambda the other one's gradient.

Target: residual_rmsnorm
Stage: verify
Expected: gradient
Notes: C28
"""

from typing import Any

import torch
import torch.nn.functional as F


class Exchanged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kept: torch.Tensor, added: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return kept.clone(), added.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return gradients[1], gradients[0]


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    kept, added = Exchanged.apply(kept, added)
    mixed = kept.squeeze(0) * x + added.squeeze(0) * x0
    return mixed, F.rms_norm(mixed, (x.shape[-1],), eps=eps)
