"""Backward as if all tokens weighed the same, as in training they do. Expected: gradient"""

import torch
import torch.nn.functional as F


class _EvenWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss):  # type: ignore[no-untyped-def]
        return loss.clone()

    @staticmethod
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        return grad_loss.mean().expand_as(grad_loss)


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    logits = F.linear(x, head).float()
    capped = softcap * torch.tanh(logits / softcap)
    loss = F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
    return _EvenWeights.apply(loss)
