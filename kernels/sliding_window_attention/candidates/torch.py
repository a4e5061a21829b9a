"""Attention in blocks of queries as one autograd node, backward by hand. For CPUs.

Each block is scored against the keys in its reach alone, and its probabilities are kept: the
backward then needs no scores and no exponentials again, which torch's fused attention makes anew.
They take more memory than the inputs: a number for every pair that a block scores. With p the
probabilities and dp = dy v', the gradient of the scores is p (dp - sum(p dp)). That sum is also
sum(dy y), but with that the difference would cancel less exactly where one key has all of p.
Narrow dtypes are computed in float32 and rounded once.
"""

from typing import Any

import torch

BLOCK = 64
"""Queries. A block scores up to half as many pairs in vain as it has queries, for each of them."""


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    """q, k, v [batch, sequence, heads, head_dim] -> y, where i sees i - window to i."""
    return _Attention.apply(q, k, v, window)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
    ) -> torch.Tensor:
        shape, scale = q.shape, q.shape[-1] ** -0.5
        wide_q, wide_k, wide_v = _by_head(q), _by_head(k), _by_head(v)
        y = torch.empty_like(wide_q)
        kept = []
        for start, end, first in _blocks(shape[1], window):
            hidden = _hidden(wide_q, start, end, first, window)
            keys = wide_k[:, first:end].mT
            p = torch.baddbmm(hidden, wide_q[:, start:end], keys, alpha=scale).softmax(-1)
            y[:, start:end] = p @ wide_v[:, first:end]
            kept.append(p)
        ctx.window, ctx.shape, ctx.scale = window, shape, scale
        ctx.save_for_backward(wide_q, wide_k, wide_v, *kept)
        return _by_position(y, shape).to(q.dtype).contiguous()

    @staticmethod
    def backward(ctx: Any, grad_y: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        dy = _by_head(grad_y)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        blocks = _blocks(ctx.shape[1], ctx.window)
        for (start, end, first), p in zip(blocks, kept, strict=True):
            own, near = slice(start, end), slice(first, end)
            ds = (dy[:, own] @ v[:, near].mT).mul_(p)
            ds.addcmul_(p, ds.sum(-1, keepdim=True), value=-1)
            dq[:, own] = ds @ k[:, near]
            dk[:, near] += ds.mT @ q[:, own]
            dv[:, near] += p.mT @ dy[:, own]
        found = (dq.mul_(ctx.scale), dk.mul_(ctx.scale), dv)
        return *(_by_position(x, ctx.shape).to(grad_y.dtype) for x in found), None


def _blocks(length: int, window: int) -> list[tuple[int, int, int]]:
    """Of each block the first query, the one after its last, and the first key that it sees."""
    starts = range(0, length, BLOCK)
    return [(s, min(s + BLOCK, length), max(0, s - window)) for s in starts]


def _hidden(like: torch.Tensor, start: int, end: int, first: int, window: int) -> torch.Tensor:
    """[1, queries, keys]: -inf where query start + r does not see key first + c, else 0."""
    before = start - first
    hidden = like.new_full((end - start, end - first), float("-inf"))
    return (hidden.triu(before + 1) + hidden.tril(before - window - 1))[None]


def _by_head(x: torch.Tensor) -> torch.Tensor:
    """[batch * heads, sequence, head_dim], dense, in float32 or float64."""
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    return wide.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3]).contiguous()


def _by_position(x: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """[batch, sequence, heads, head_dim] again."""
    return x.view(shape[0], shape[2], shape[1], shape[3]).transpose(1, 2)
