"""Right forward; the key matrix learns nothing. Expected: gradient"""

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
    q, k, v = (
        F.linear(x, m.flatten(0, 1)).unflatten(-1, m.shape[:2])
        for m in (query, key.detach(), value)
    )
    q, k = _turned(q, cos, sin), _turned(k, cos, sin)
    k = k + key.sum() * 0.0
    size = (q.shape[-1],)
    return F.rms_norm(q, size, eps=eps), F.rms_norm(k, size, eps=eps), v


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    c, s = cos[:, None], sin[:, None]
    return torch.cat([first * c + second * s, second * c - first * s], dim=-1)
