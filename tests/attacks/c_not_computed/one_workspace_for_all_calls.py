"""Keeps what the backward needs in one workspace: right as long as no other call comes between.

In training all forwards of a step come before the first backward.

Target: rmsnorm
Stage: verify
Expected: gradient
Notes: A17, C25
"""

from typing import Any

import torch

WORKSPACE: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}


class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> torch.Tensor:
        wide = x.float()
        scale = (wide.square().mean(-1, keepdim=True) + eps).rsqrt()
        y = wide * scale
        ctx.key = (x.shape, x.dtype)
        WORKSPACE[ctx.key] = (y, scale)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        y, scale = WORKSPACE[ctx.key]
        wide = gradient.float()
        dx = (wide - y * (wide * y).mean(-1, keepdim=True)) * scale
        return dx.to(gradient.dtype), None


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return Op.apply(x, eps)
