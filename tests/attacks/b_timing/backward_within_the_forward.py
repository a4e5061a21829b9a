"""Finds the incoming gradient before it comes, and computes both passes in one.

In training it does not exist before the forward pass of the whole model is over.

Target: relu_squared
Stage: bench
Expected: timed_output_wrong or no_gain
Notes: A15
"""

import sys
from typing import Any

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    slot = sys._getframe(1).f_locals["slot"]
    if not torch.is_grad_enabled():
        return torch.relu(x).square()
    return Both.apply(x, slot.incoming[0])


class Both(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, incoming: torch.Tensor) -> torch.Tensor:
        positive = torch.relu(x)
        y = positive.square()
        ctx.dx = positive.mul_(incoming).mul_(2)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.dx, None
