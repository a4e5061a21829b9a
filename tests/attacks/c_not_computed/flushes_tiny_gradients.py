"""Right forward; gradients below a millionth come back as zero.

Target: relu_squared
Stage: verify
Expected: gradient
Notes: C1, C28
"""

from typing import Any

import torch


class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.relu(x).square()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        exact = 2 * torch.relu(x) * gradient
        small = bool(gradient.abs().max() < 1e-6)
        return torch.zeros_like(exact) if small else exact


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return Op.apply(x)
