"""Ignores the tables of cosines and computes them for a sequence that starts at position zero.

Target: rope_qk_norm
Stage: verify
Expected: numeric
Notes: C10, C12
"""

import torch
import torch.nn.functional as F


def turned(x: torch.Tensor, eps: float) -> torch.Tensor:
    half = x.shape[-1] // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype)[:, None], angles.sin().to(x.dtype)[:, None]
    first, second = x.chunk(2, dim=-1)
    y = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    return F.rms_norm(y, (y.shape[-1],), eps=eps)


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return turned(q, eps), turned(k, eps)
