"""Leaves the last row of the output as the allocator gave it.

Target: relu_squared
Stage: verify
Expected: numeric or not_finite or stale_output
Notes: C35
"""

from typing import Any

import torch


class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        y = torch.empty_like(x)
        y.flatten(0, 1)[:-1] = torch.relu(x).square().flatten(0, 1)[:-1]
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return 2 * torch.relu(x) * gradient


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return Op.apply(x)
