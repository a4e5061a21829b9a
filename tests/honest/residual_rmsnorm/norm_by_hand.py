"""The mix by autograd, the norm's backward by hand; its scale is made again there."""

from typing import Any

import torch


class Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mixed: torch.Tensor, eps: float) -> torch.Tensor:
        ctx.save_for_backward(mixed)
        ctx.eps = eps
        return mixed * (mixed.square().mean(-1, keepdim=True) + eps).rsqrt()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (mixed,) = ctx.saved_tensors
        scale = (mixed.square().mean(-1, keepdim=True) + ctx.eps).rsqrt()
        y = mixed * scale
        return scale * (gradient - y * (gradient * y).mean(-1, keepdim=True)), None


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    mixed = kept * x.float() + added * x0.float()
    return mixed.to(x.dtype), Norm.apply(mixed, eps).to(x.dtype)
