"""Takes the window for a constant and keeps the first that it meets. Expected: numeric"""

import torch
import torch.nn.functional as F

WINDOWS: list[int] = []


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    WINDOWS.append(window)
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    seen = (back >= 0) & (back <= WINDOWS[0])
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)
