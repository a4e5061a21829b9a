"""Rotary embedding and RMS norm of q and k as one autograd node, backward by hand. For CPUs.

The tables are laid out once per call as full rows, [cos cos] and [sin -sin] for every head, so that
a rotation is x * c + swapped_halves(x) * s over long contiguous rows: broadcasting half rows over
the heads would leave inner loops of head_dim / 2 elements. The inverse rotation of the backward is
the same with -s. It keeps the results, which attention keeps anyway, and one scale per head vector.
Narrow dtypes are computed in float32 and rounded once; there it keeps the results in float32, as
their rounding would show where terms of the gradient nearly cancel.
"""

from typing import Any

import torch


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """q, k [batch, sequence, heads, head_dim], cos, sin [sequence, head_dim / 2] -> q, k."""
    return _RopeQkNorm.apply(q, k, cos, sin, eps)


class _RopeQkNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin, table = _wide(cos), _wide(sin), q.shape[1:]
        c = torch.cat([cos, cos] * q.shape[2], dim=-1).view(table)
        s = torch.cat([sin, -sin] * q.shape[2], dim=-1).view(table)
        wide_q, scale_q = _rotated_and_normalised(q, c, s, eps)
        wide_k, scale_k = _rotated_and_normalised(k, c, s, eps)
        ctx.save_for_backward(wide_q, scale_q, wide_k, scale_k, c, s)
        return wide_q.to(q.dtype), wide_k.to(k.dtype)

    @staticmethod
    def backward(
        ctx: Any, grad_q: torch.Tensor, grad_k: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        wide_q, scale_q, wide_k, scale_k, c, s = ctx.saved_tensors
        grad_q = _gradient(grad_q, wide_q, scale_q, c, s)
        grad_k = _gradient(grad_k, wide_k, scale_k, c, s)
        return grad_q, grad_k, None, None, None


def _rotated_and_normalised(
    x: torch.Tensor, c: torch.Tensor, s: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    wide = _wide(x)
    y = (wide * c).addcmul_(_swapped_halves(wide), s)
    size = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
    scale = torch.addcmul(size.new_full((), eps), size, size, value=1 / x.shape[-1]).rsqrt_()
    return y.mul_(scale), scale


def _gradient(
    grad_output: torch.Tensor,
    y: torch.Tensor,
    scale: torch.Tensor,
    c: torch.Tensor,
    s: torch.Tensor,
) -> torch.Tensor:
    grad_y = _wide(grad_output)
    turned = grad_y * y
    along = turned.mean(dim=-1, keepdim=True)
    torch.addcmul(grad_y, y, along, value=-1, out=turned).mul_(scale)
    swapped = _swapped_halves(turned)
    return turned.mul_(c).addcmul_(swapped, s, value=-1).to(grad_output.dtype)


def _swapped_halves(x: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return torch.cat([x[..., half:], x[..., :half]], dim=-1)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself in float32 or float64, else a copy in float32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
