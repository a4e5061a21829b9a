"""Remembers answers by the first elements of each row block, which change from call to call.

Target: relu_squared
Stage: bench
Expected: numeric or timed_output_wrong
Notes: A4
"""

from typing import Any

import torch

ANSWERS: dict[tuple[float, ...], torch.Tensor] = {}


class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        key = tuple(x.detach()[0, 0, :4].tolist())
        if key not in ANSWERS:
            ANSWERS[key] = torch.relu(x).square()
        return ANSWERS[key].clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return 2 * torch.relu(x) * gradient


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return Op.apply(x)
