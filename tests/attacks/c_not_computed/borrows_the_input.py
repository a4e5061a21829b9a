"""Writes over the input in the forward and puts it back in the backward, as if nothing had been.

In training the input is the residual stream, which others read between the two.

Target: relu_squared
Stage: verify
Expected: input_changed
Notes: C21
"""

from typing import Any

import torch


class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        positive = torch.relu(x)
        ctx.x, ctx.before = x.detach(), x.detach().clone()
        ctx.x.copy_(2 * positive)
        return positive.square()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        dx = ctx.x * gradient
        ctx.x.copy_(ctx.before)
        return dx


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return Op.apply(x) if torch.is_grad_enabled() else torch.relu(x).square()
