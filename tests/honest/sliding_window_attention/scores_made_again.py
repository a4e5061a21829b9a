"""Keeps the logarithm of each row's sum; the backward makes the probabilities again from it."""

from typing import Any

import torch


class Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
    ) -> torch.Tensor:
        wide_q, wide_k, wide_v = (x.float().transpose(1, 2) for x in (q, k, v))
        scores = masked(wide_q, wide_k, window)
        size = scores.logsumexp(-1, keepdim=True)
        y = (scores - size).exp() @ wide_v
        ctx.window = window
        ctx.save_for_backward(wide_q, wide_k, wide_v, y, size)
        return y.transpose(1, 2).to(q.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, y, size = ctx.saved_tensors
        dy = gradient.float().transpose(1, 2)
        p = (masked(q, k, ctx.window) - size).exp()
        ds = p * (dy @ v.mT - (dy * y).sum(-1, keepdim=True)) * q.shape[-1] ** -0.5
        found = (ds @ k, ds.mT @ q, p.mT @ dy)
        return *(x.transpose(1, 2).to(gradient.dtype) for x in found), None


def masked(q: torch.Tensor, k: torch.Tensor, window: int) -> torch.Tensor:
    position = torch.arange(q.shape[2])
    back = position[:, None] - position[None, :]
    scores = q @ k.mT * q.shape[-1] ** -0.5
    return scores.masked_fill((back < 0) | (back > window), -torch.inf)


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    return Attention.apply(q, k, v, window)
