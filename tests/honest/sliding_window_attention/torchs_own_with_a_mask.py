"""Torch's fused attention on the whole square, with a mask of truths."""

import torch
import torch.nn.functional as F


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    seen = (back >= 0) & (back <= window)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)
