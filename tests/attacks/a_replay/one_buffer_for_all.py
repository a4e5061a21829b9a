"""Returns one static buffer from every call, so that many outputs are one.

Target: rope_qk_norm
Stage: verify
Expected: stale_output or raised
Notes: A17
"""

from typing import Any

import torch
import torch.nn.functional as F

BUFFERS: dict[Any, torch.Tensor] = {}


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    y = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    return F.rms_norm(y, (y.shape[-1],), eps=eps)


class InBuffer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, name: str) -> torch.Tensor:
        buffer = BUFFERS.setdefault((name, y.shape, y.dtype), torch.empty_like(y))
        return buffer.copy_(y).view_as(buffer)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return (
        InBuffer.apply(turned(q, cos, sin, eps), "q"),
        InBuffer.apply(turned(k, cos, sin, eps), "k"),
    )
