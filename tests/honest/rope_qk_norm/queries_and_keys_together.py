"""Queries and keys stacked into one tensor and turned at once."""

import torch
import torch.nn.functional as F


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    both = torch.stack([q, k])
    cos, sin = cos[None, None, :, None, :], sin[None, None, :, None, :]
    first, second = both.chunk(2, dim=-1)
    y = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    y = F.rms_norm(y, (y.shape[-1],), eps=eps)
    return y[0], y[1]
