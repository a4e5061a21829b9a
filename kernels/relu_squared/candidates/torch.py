"""ReLU squared with one new tensor forward and one backward. For CPUs, where memory is the cost.

The incumbent makes two tensors forward and, through autograd's power and threshold nodes, several
backward. Here the square is taken in place, x itself is kept, and the factor 2 of the gradient
2 max(x, 0) dy rides on the multiplication: addcmul of a zero that is broadcast.
"""

from typing import Any

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    """x [batch, sequence, hidden] -> max(x, 0)^2, the same shape."""
    return _ReluSquared.apply(x)


class _ReluSquared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.relu(x).square_()

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        positive = torch.relu(x)
        return torch.addcmul(x.new_zeros(()), grad_output, positive, value=2, out=positive)
