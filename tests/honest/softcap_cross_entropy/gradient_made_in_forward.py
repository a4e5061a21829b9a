"""Computes the gradient's direction while it is at it, and scales it in backward."""

from typing import Any

import torch


class Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, targets: torch.Tensor, softcap: float
    ) -> torch.Tensor:
        bent = torch.tanh(logits.float() / softcap)
        log_p = (softcap * bent).log_softmax(1)
        place = targets.clamp_min(0)[:, None]
        counted = (targets >= 0).float()
        direction = log_p.exp()
        direction.scatter_add_(1, place, -torch.ones_like(place, dtype=direction.dtype))
        direction *= (1 - bent * bent) * counted[:, None]
        ctx.save_for_backward(direction)
        ctx.dtype = logits.dtype
        return torch.where(targets >= 0, -log_p.gather(1, place)[:, 0], 0.0)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (direction,) = ctx.saved_tensors
        return (direction * gradient[:, None]).to(ctx.dtype), None, None


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    return Loss.apply(logits, targets, softcap)
