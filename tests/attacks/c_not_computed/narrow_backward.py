"""Right forward in float32; backward works in bfloat16.

Target: rope_qk_norm
Stage: verify
Expected: gradient
Notes: C6, C28
"""

from typing import Any

import torch
import torch.nn.functional as F


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    y = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    return F.rms_norm(y, (y.shape[-1],), eps=eps)


class Narrow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.bfloat16().to(gradient.dtype)


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return turned(Narrow.apply(q), cos, sin, eps), turned(Narrow.apply(k), cos, sin, eps)
