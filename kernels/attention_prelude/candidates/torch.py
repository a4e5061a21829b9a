"""Projections, rotation and norm as one autograd node, backward by hand. For CPUs.

Rotation and norm work as in the candidate of `rope_qk_norm`: over whole rows, with the tables laid
out once per call, keeping the results and one scale per head vector. What being one op adds: the
gradients of q, k and v are written side by side, so that the backward pass is one product for x,
which needs no additions after it, and one for the three matrices. Narrow dtypes are computed in
float32 and rounded once.
"""

from typing import Any

import torch


def attention_prelude(
    x: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [batch, sequence, width], matrices [heads, head_dim, width], tables [sequence,
    head_dim / 2] -> q, k and v [batch, sequence, heads, head_dim]."""
    return _Prelude.apply(x, query, key, value, cos, sin, eps)


class _Prelude(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads, head_dim, width = query.shape
        cos, sin, rows = _wide(cos), _wide(sin), _wide(x).reshape(-1, width)
        table = (x.shape[1], heads, head_dim)
        c = torch.cat([cos, cos] * heads, dim=-1).view(table)
        s = torch.cat([sin, -sin] * heads, dim=-1).view(table)
        shape = (*x.shape[:2], heads, head_dim)
        q, k, v = (
            (rows @ _wide(matrix).reshape(-1, width).T).view(shape)
            for matrix in (query, key, value)
        )
        (q, scale_q), (k, scale_k) = (_turned_and_normed(each, c, s, eps) for each in (q, k))
        ctx.save_for_backward(rows, query, key, value, q, scale_q, k, scale_k, c, s)
        return q.to(x.dtype), k.to(x.dtype), v.to(x.dtype)

    @staticmethod
    def backward(
        ctx: Any, grad_q: torch.Tensor, grad_k: torch.Tensor, grad_v: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        rows, query, key, value, q, scale_q, k, scale_k, c, s = ctx.saved_tensors
        heads, head_dim, width = query.shape
        beside = rows.new_empty(*grad_q.shape[:2], 3, heads, head_dim)
        _unnormed(grad_q, q, scale_q, c, s, out=beside[:, :, 0])
        _unnormed(grad_k, k, scale_k, c, s, out=beside[:, :, 1])
        beside[:, :, 2] = grad_v
        flat = beside.view(len(rows), -1)
        matrices = torch.cat([_wide(m).reshape(-1, width) for m in (query, key, value)])
        grad_x = (flat @ matrices).view(*grad_q.shape[:2], width).to(grad_q.dtype)
        grads = (flat.T @ rows).to(query.dtype).view(3, heads, head_dim, width)
        return grad_x, grads[0], grads[1], grads[2], None, None, None


def _turned_and_normed(
    x: torch.Tensor, c: torch.Tensor, s: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    y = (x * c).addcmul_(_swapped_halves(x), s)
    size = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
    scale = torch.addcmul(size.new_full((), eps), size, size, value=1 / x.shape[-1]).rsqrt_()
    return y.mul_(scale), scale


def _unnormed(
    grad_output: torch.Tensor,
    y: torch.Tensor,
    scale: torch.Tensor,
    c: torch.Tensor,
    s: torch.Tensor,
    out: torch.Tensor,
) -> None:
    dy = _wide(grad_output)
    turned = dy * y
    along = turned.mean(dim=-1, keepdim=True)
    torch.addcmul(dy, y, along, value=-1, out=turned).mul_(scale)
    torch.mul(turned, c, out=out).addcmul_(_swapped_halves(turned), s, value=-1)


def _swapped_halves(x: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return torch.cat([x[..., half:], x[..., :half]], dim=-1)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself in float32 or float64, else a copy in float32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
