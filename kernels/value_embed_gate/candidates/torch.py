"""The gated value embedding as one autograd node. For CPUs, where memory is the cost.

The incumbent makes the product gate x embedding, adds it, and in the backward pass makes two more
tensors of that size before one is summed over each head. Here the product is added as it is made,
dvalue is the incoming gradient itself, and the sum over a head is made from one product. The
gradient of x is zero beyond the gate's channels. Narrow dtypes round where the incumbent does, but
for the sums over a head, which are made in float32.
"""

from typing import Any

import torch


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    """x [batch, sequence, width], weight [heads, channels], value and embedding
    [batch, sequence, heads, head_dim] -> the shape of value."""
    return _ValueEmbedGate.apply(x, weight, value, embedding)


class _ValueEmbedGate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        value: torch.Tensor,
        embedding: torch.Tensor,
    ) -> torch.Tensor:
        read = x[..., : weight.shape[1]]
        gate = torch.sigmoid(read @ weight.T).mul_(2)
        ctx.save_for_backward(read, weight, embedding, gate)
        ctx.width = x.shape[-1]
        return torch.addcmul(value, gate.unsqueeze(-1), embedding)

    @staticmethod
    def backward(ctx: Any, grad_y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        read, weight, embedding, gate = ctx.saved_tensors
        product = grad_y * embedding
        slope = torch.addcmul(gate, gate, gate, value=-0.5)
        slope = (product.sum(-1, dtype=_wide(grad_y.dtype)) * slope).to(read.dtype)
        grad_x = read.new_zeros(*read.shape[:-1], ctx.width)
        grad_x[..., : weight.shape[1]] = slope @ weight
        grad_weight = slope.flatten(0, -2).T @ read.flatten(0, -2)
        grad_embedding = torch.mul(grad_y, gate.unsqueeze(-1), out=product)
        return grad_x, grad_weight, grad_y, grad_embedding


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32
