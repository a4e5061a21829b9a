"""Rotates channels 2 i and 2 i + 1 instead of i and i + head_dim / 2. Expected: numeric"""

import torch
import torch.nn.functional as F


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    rotated = (_rotated(x, cos[:, None], sin[:, None]) for x in (q, k))
    return tuple(F.rms_norm(x, (x.shape[-1],), eps=eps) for x in rotated)


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x[..., ::2], x[..., 1::2]
    pair = [first * cos + second * sin, second * cos - first * sin]
    return torch.stack(pair, dim=-1).flatten(-2)
