"""Exact for its first calls, then with half of the window, which is less work.

Target: sliding_window_attention
Stage: bench
Expected: timed_output_wrong or numeric
Notes: C11, E7
"""

import torch
import torch.nn.functional as F

CALLS = [0]


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    CALLS[0] += 1
    reach = window if CALLS[0] <= 200 else window // 2
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    seen = (back >= 0) & (back <= reach)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)
