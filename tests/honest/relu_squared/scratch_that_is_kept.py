"""Keeps a scratch buffer between calls; what it returns is always its own."""

from typing import Any

import torch

SCRATCH: dict[Any, torch.Tensor] = {}


class ReluSquared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        scratch = SCRATCH.setdefault((x.shape, x.dtype), torch.empty(x.shape, dtype=x.dtype))
        torch.clamp_min(x, 0, out=scratch)
        return scratch * scratch

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return torch.relu(x) * gradient * 2


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return ReluSquared.apply(x)
