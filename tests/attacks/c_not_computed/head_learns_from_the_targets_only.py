"""Right forward; of the head, only the rows of this batch's targets learn.

Target: linear_softcap_cross_entropy
Stage: verify
Expected: gradient
Notes: C5, C28
"""

from typing import Any

import torch
import torch.nn.functional as F


class Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(targets)
        return head.view_as(head)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (targets,) = ctx.saved_tensors
        classes = targets[targets >= 0]
        return torch.zeros_like(gradient).index_copy(0, classes, gradient[classes]), None


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(F.linear(x, Rows.apply(head, targets)).float() / softcap)
    return F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
