"""Computes every output, but remembers the gradient by the address of the incoming one.

Target: relu_squared
Stage: verify
Expected: stale_output
Notes: A1, C28
"""

from typing import Any

import torch

KEPT: dict[Any, torch.Tensor] = {}


class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.relu(x).square()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        key = (gradient.data_ptr(), gradient.shape, gradient.dtype)
        if key not in KEPT:
            KEPT[key] = (2 * torch.relu(x) * gradient).clone()
        return KEPT[key].clone()


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return Op.apply(x)
