"""Returns an unwritten output that backward fills in, so that evaluation is free.

Target: rmsnorm
Stage: verify
Expected: numeric or not_finite or stale_output
Notes: B15
"""

from typing import Any

import torch
import torch.nn.functional as F


class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> torch.Tensor:
        ctx.x, ctx.eps = x.detach(), eps
        y = torch.empty_like(x)
        ctx.y = y.detach()
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        with torch.enable_grad():
            x = ctx.x.requires_grad_()
            y = F.rms_norm(x, (x.shape[-1],), eps=ctx.eps)
        ctx.y.copy_(y)
        return torch.autograd.grad(y, x, gradient)[0], None


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return Op.apply(x, eps)
