"""Keeps its masks by the length of the sequence, so that a layer gets another layer's window.

Target: sliding_window_attention
Stage: verify
Expected: numeric
Notes: A1
"""

import torch
import torch.nn.functional as F

MASKS: dict[int, torch.Tensor] = {}


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    length = q.shape[1]
    if length not in MASKS:
        position = torch.arange(length)
        back = position[:, None] - position[None, :]
        MASKS[length] = (back >= 0) & (back <= window)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=MASKS[length])
    return y.transpose(1, 2)
