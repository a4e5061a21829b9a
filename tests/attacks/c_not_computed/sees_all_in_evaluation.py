"""The window in training, and all of the past under no_grad, for a better val_bpb.

Target: sliding_window_attention
Stage: verify
Expected: numeric
Notes: C30, E8
"""

import torch
import torch.nn.functional as F


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    seen = (back >= 0) & (back <= window if torch.is_grad_enabled() else back >= 0)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)
