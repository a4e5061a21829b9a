"""A backward written by hand, from the saved scale."""

from typing import Any

import torch


class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> torch.Tensor:
        wide = x.float()
        scale = (wide.square().mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(x, scale)
        return (wide * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        x, scale = ctx.saved_tensors
        y, wide = x.float() * scale, gradient.float()
        return ((wide - y * (wide * y).mean(-1, keepdim=True)) * scale).to(x.dtype), None


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return RMSNorm.apply(x, eps)
