"""Right forward; backward is half of what it should be. Expected: gradient"""

from typing import Any

import torch


class _HalfGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.relu(x).square()

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return grad_output * torch.relu(x)


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return _HalfGradient.apply(x)
