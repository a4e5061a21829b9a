"""Batched products, heads first; normed before turning, which keeps the length."""

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
    rows, half = x.float().flatten(0, 1), cos.shape[-1]
    shape = (query.shape[0], *x.shape[:2], query.shape[1])
    q, k, v = (torch.matmul(rows, m.float().mT).view(shape) for m in (query, key, value))
    c, s = torch.cat([cos, cos], -1).float(), torch.cat([sin, -sin], -1).float()
    q, k = (t * (t.square().mean(-1, keepdim=True) + eps).rsqrt() for t in (q, k))
    q, k = (t * c + t.roll(half, -1) * s for t in (q, k))
    q, k, v = (t.permute(1, 2, 0, 3).to(x.dtype) for t in (q, k, v))
    return q, k, v
