"""Has the trainer's two windows built in, half and all of the sequence. Expected: numeric"""

import torch
import torch.nn.functional as F


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    length = q.shape[1]
    position = torch.arange(length)
    back = position[:, None] - position[None, :]
    seen = (back >= 0) & (back <= (length // 2 if window <= length // 2 else length))
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)
