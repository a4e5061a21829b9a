"""Right forward; what the values tell x is not added to its gradient.

Target: attention_prelude
Stage: verify
Expected: gradient
Notes: C28
"""

import torch
import torch.nn.functional as F


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    c, s = cos[:, None], sin[:, None]
    y = torch.cat([first * c + second * s, second * c - first * s], dim=-1)
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
    own = F.linear(x.detach(), value.flatten(0, 1)).unflatten(-1, value.shape[:2])
    return turned(q, cos, sin, eps), turned(k, cos, sin, eps), own + 0.0 * v
