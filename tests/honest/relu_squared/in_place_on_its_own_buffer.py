"""Works in place, on a buffer that it has made itself."""

from typing import Any

import torch


class ReluSquared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.relu(x).square_()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return torch.relu(x).mul_(gradient).mul_(2)


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return ReluSquared.apply(x)
