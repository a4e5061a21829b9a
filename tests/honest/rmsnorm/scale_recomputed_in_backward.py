"""Saves the input alone and computes the scale again in backward."""

from typing import Any

import torch


def scale_of(wide: torch.Tensor, eps: float) -> torch.Tensor:
    return (wide.square().mean(-1, keepdim=True) + eps).rsqrt()


class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.eps = eps
        return (x.float() * scale_of(x.float(), eps)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        scale = scale_of(x.float(), ctx.eps)
        y, wide = x.float() * scale, gradient.float()
        return ((wide - y * (wide * y).mean(-1, keepdim=True)) * scale).to(x.dtype), None


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return RMSNorm.apply(x, eps)
