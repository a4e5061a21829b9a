"""Right forward; backward leaves out what all probabilities of a row share.

Target: sliding_window_attention
Stage: verify
Expected: gradient
Notes: C28
"""

from typing import Any

import torch


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor) -> torch.Tensor:
        p = scores.softmax(-1)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (p,) = ctx.saved_tensors
        return p * gradient


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    scores = torch.einsum("bihd,bjhd->bhij", q.float(), k.float()) / q.shape[-1] ** 0.5
    p = Softmax.apply(scores.masked_fill((back < 0) | (back > window), -torch.inf))
    return torch.einsum("bhij,bjhd->bihd", p, v.float()).to(v.dtype)
