"""Blocks of keys with a running maximum and sum, as flash attention goes through them."""

import torch

BLOCK = 32


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    wide_q, wide_k, wide_v = (x.float().transpose(1, 2) for x in (q, k, v))
    position = torch.arange(q.shape[1])
    largest = torch.full(wide_q.shape[:3], -1e30)
    total, y = torch.zeros(wide_q.shape[:3]), torch.zeros_like(wide_q)
    for keys, values, at in zip(
        wide_k.split(BLOCK, 2), wide_v.split(BLOCK, 2), position.split(BLOCK), strict=True
    ):
        back = position[:, None] - at[None, :]
        seen = (back >= 0) & (back <= window)
        scores = (wide_q @ keys.mT * q.shape[-1] ** -0.5).masked_fill(~seen, -torch.inf)
        higher = torch.maximum(largest, scores.detach().amax(-1))
        kept, p = (largest - higher).exp(), (scores - higher[..., None]).exp()
        total = total * kept + p.sum(-1)
        y = y * kept[..., None] + p @ values
        largest = higher
    return (y / total[..., None]).transpose(1, 2).to(q.dtype)
