"""Right loss; the gradient is scaled as if the losses had been averaged.

Target: softcap_cross_entropy
Stage: verify
Expected: gradient
Notes: C29
"""

from typing import Any

import torch
import torch.nn.functional as F


class Averaged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient / max(2, gradient.numel())


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    return Averaged.apply(F.cross_entropy(capped, targets, ignore_index=-1, reduction="none"))
