"""Turns neighbouring channels in pairs, the other convention, instead of the two halves.

Target: attention_prelude
Stage: verify
Expected: numeric or gradient
Notes: C10
"""

import torch
import torch.nn.functional as F


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = x[..., ::2], x[..., 1::2]
    c, s = cos[:, None], sin[:, None]
    y = torch.stack([first * c + second * s, second * c - first * s], dim=-1).flatten(-2)
    return F.rms_norm(y, (y.shape[-1],), eps=eps)


def attention_prelude(
    x: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    q, k, v = (F.linear(x, m.flatten(0, 1)).unflatten(-1, m.shape[:2]) for m in (query, key, value))
    return turned(q, cos, sin, eps), turned(k, cos, sin, eps), v
