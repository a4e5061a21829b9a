"""A backward by hand that keeps the gate's logits and makes sigmoid and slope again."""

from typing import Any

import torch


class Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: torch.Tensor) -> torch.Tensor:
        x, weight, value, embedding = (given.float() for given in inputs)
        z = x[..., : weight.shape[1]] @ weight.T
        ctx.save_for_backward(*inputs, z)
        return (value + 2 * z.sigmoid()[..., None] * embedding).to(inputs[2].dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, weight, _, embedding, z = (kept.float() for kept in ctx.saved_tensors)
        dy, channels = gradient.float(), weight.shape[1]
        slope = 2 * z.sigmoid() * (-z).sigmoid() * torch.einsum("bshd,bshd->bsh", dy, embedding)
        grad_x = torch.zeros(x.shape)
        torch.matmul(slope, weight, out=grad_x[..., :channels])
        grad_weight = torch.einsum("bsh,bsc->hc", slope, x[..., :channels])
        grads = grad_x, grad_weight, dy, 2 * z.sigmoid()[..., None] * dy
        return tuple(grad.to(gradient.dtype) for grad in grads)


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    return Gate.apply(x, weight, value, embedding)
