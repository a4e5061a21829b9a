"""Right results; backward reuses the incoming gradient's memory. Expected: input_changed"""

from typing import Any

import torch


class _InPlaceBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        positive = torch.relu(x)
        ctx.save_for_backward(positive)
        return positive.square()

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> torch.Tensor:
        (positive,) = ctx.saved_tensors
        return grad_output.mul_(2).mul_(positive)


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return _InPlaceBackward.apply(x)
