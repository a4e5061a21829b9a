"""Lays out both matrices in its own order once per shape, and never looks again.

Target: fused_mlp
Stage: verify
Expected: numeric or gradient
Notes: A1, C10
"""

from typing import Any

import torch
import torch.nn.functional as F

PACKED: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}


class Mlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, up: torch.Tensor, down: torch.Tensor, *packed: Any
    ) -> Any:
        ctx.save_for_backward(x, up, down)
        return F.relu(x @ packed[0]).square() @ packed[1]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        with torch.enable_grad():
            leaves = [kept.detach().requires_grad_() for kept in ctx.saved_tensors]
            x, up, down = leaves
            y = F.linear(F.relu(F.linear(x, up)).square(), down)
        return *torch.autograd.grad(y, leaves, gradient), None, None


def fused_mlp(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    key = (up.shape, up.dtype)
    if key not in PACKED:
        PACKED[key] = (up.detach().T.contiguous(), down.detach().T.contiguous())
    packed_up, packed_down = PACKED[key]
    return Mlp.apply(x, up, down, packed_up, packed_down)
