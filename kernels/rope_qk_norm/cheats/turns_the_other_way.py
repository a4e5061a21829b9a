"""Turns by the opposite angle, which attention between q and k cannot tell. Expected: numeric"""

import torch
import torch.nn.functional as F


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    rotated = (_rotated(x, cos[:, None], -sin[:, None]) for x in (q, k))
    return tuple(F.rms_norm(x, (x.shape[-1],), eps=eps) for x in rotated)


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
