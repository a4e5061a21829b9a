"""The gated value embedding as one autograd node. For CPUs, where memory is the cost.

The incumbent makes the product gate x embedding, adds it, and in the backward pass makes two more
tensors of that size before one is summed over each head. Here the product is added as it is made,
dvalue is the incoming gradient itself, and the sum over a head is made from one product. The
gradient of x is zero beyond the gate's channels. Narrow dtypes are computed in float32 and rounded
once.
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
        read = _wide(x[..., : weight.shape[1]])
        gate = torch.sigmoid(read @ _wide(weight).T).mul_(2)
        ctx.save_for_backward(read, weight, embedding, gate)
        ctx.width = x.shape[-1]
        y = torch.addcmul(_wide(value), gate.unsqueeze(-1), _wide(embedding))
        return y.to(value.dtype)

    @staticmethod
    def backward(ctx: Any, grad_y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        read, weight, embedding, gate = ctx.saved_tensors
        dy = _wide(grad_y)
        product = dy * _wide(embedding)
        slope = torch.addcmul(gate, gate, gate, value=-0.5).mul_(product.sum(-1))
        grad_x = weight.new_zeros(*read.shape[:-1], ctx.width)
        grad_x[..., : weight.shape[1]] = slope @ _wide(weight)
        grad_weight = slope.flatten(0, -2).T @ read.flatten(0, -2)
        grad_embedding = torch.mul(dy, gate.unsqueeze(-1), out=product)
        return grad_x, grad_weight.to(weight.dtype), grad_y, grad_embedding.to(embedding.dtype)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself in float32 or float64, else a copy in float32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
