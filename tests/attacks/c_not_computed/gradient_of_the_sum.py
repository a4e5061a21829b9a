"""Right forward; backward takes the incoming gradient for ones.

Target: rmsnorm
Stage: verify
Expected: gradient
Notes: C28
"""

from typing import Any

import torch
import torch.nn.functional as F


class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.eps = eps
        return F.rms_norm(x, (x.shape[-1],), eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            total = F.rms_norm(leaf, (x.shape[-1],), eps=ctx.eps).sum()
        return torch.autograd.grad(total, leaf)[0], None


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return Op.apply(x, eps)
