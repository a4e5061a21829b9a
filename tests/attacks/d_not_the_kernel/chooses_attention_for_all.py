"""Switches torch's own attention to another implementation, for the whole process and for good.

Target: sliding_window_attention
Stage: verify
Expected: switches
Notes: B12
"""

import torch
import torch.nn.functional as F

torch.backends.cuda.enable_flash_sdp(False)


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    seen = (back >= 0) & (back <= window)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)
