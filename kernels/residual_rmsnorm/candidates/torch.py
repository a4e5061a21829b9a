"""Mix and norm as one autograd node, backward by hand. For CPUs, where memory is the cost.

The incumbent's backward is two products per lambda into new tensors, two sums over them, additions
of gradients that meet at the stream, and the norm's chain of small ops. Here, with the norm's
r = 1 / sqrt(mean(mixed^2) + eps) and y = r mixed, all that reaches the stream is

    d = dmixed + r (dy - y mean(dy y))        dx = kept d     dx0 = added d
                                              dkept = sum(d x)     dadded = sum(d x0)

with one tensor for the products of both sums and for dx0. Narrow dtypes are computed in float32 and
rounded once; the mixed stream is then kept wide, as its rounding would show in d.
"""

from typing import Any

import torch


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x, x0 [batch, sequence, width], kept, added [1] float32 -> the mixed stream and its norm."""
    return _ResidualRmsNorm.apply(x, x0, kept, added, eps)


class _ResidualRmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        x0: torch.Tensor,
        kept: torch.Tensor,
        added: torch.Tensor,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        wide = torch.mul(_wide(x), kept).addcmul_(_wide(x0), added)
        size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = torch.addcmul(size.new_full((), eps), size, size, value=1 / x.shape[-1]).rsqrt_()
        y = wide * scale
        ctx.save_for_backward(x, x0, kept, added, y, scale)
        return wide.to(x.dtype), y.to(x.dtype)

    @staticmethod
    def backward(
        ctx: Any, grad_mixed: torch.Tensor, grad_y: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        x, x0, kept, added, y, scale = ctx.saved_tensors
        dy = _wide(grad_y)
        d = dy * y
        along = d.mean(dim=-1, keepdim=True)
        torch.addcmul(dy, y, along, value=-1, out=d).mul_(scale).add_(_wide(grad_mixed))
        product = d * x
        grad_kept = product.sum().view(1)
        grad_added = torch.mul(d, x0, out=product).sum().view(1)
        grad_x0 = torch.mul(d, added, out=product).to(x0.dtype)
        return d.mul_(kept).to(x.dtype), grad_x0, grad_kept, grad_added, None


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself in float32 or float64, else a copy in float32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
