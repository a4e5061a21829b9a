"""Returns q and k stacked in one tensor. Expected: arity"""

import torch
import torch.nn.functional as F


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> torch.Tensor:
    first, second = torch.stack([q, k]).chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    rotated = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    return F.rms_norm(rotated, (q.shape[-1],), eps=eps)
