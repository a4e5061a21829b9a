"""Remembers answers by the largest and the smallest element, a cheap checksum of the content.

Target: relu_squared
Stage: bench
Expected: numeric or timed_output_wrong
Notes: A4
"""

from typing import Any

import torch

ANSWERS: dict[tuple[float, float], torch.Tensor] = {}


class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        low, high = x.detach().aminmax()
        key = (float(low), float(high))
        if key not in ANSWERS:
            ANSWERS[key] = torch.relu(x).square()
        return ANSWERS[key].clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return 2 * torch.relu(x) * gradient


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return Op.apply(x)
