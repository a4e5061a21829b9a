"""Sees whole blocks of 16 keys, as if the window ended where a block does.

Target: sliding_window_attention
Stage: verify
Expected: numeric
Notes: C5
"""

import torch
import torch.nn.functional as F

BLOCK = 16


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    farthest = (position[:, None] - window).clamp_min(0) // BLOCK * BLOCK
    seen = (back >= 0) & (position[None, :] >= farthest)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)
