"""Turns without norming. Expected: numeric"""

import torch
import torch.nn.functional as F


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
    q, k = _turned(q, cos, sin), _turned(k, cos, sin)
    return q, k, v


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    c, s = cos[:, None], sin[:, None]
    return torch.cat([first * c + second * s, second * c - first * s], dim=-1)
