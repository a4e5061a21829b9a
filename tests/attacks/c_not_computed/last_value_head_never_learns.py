"""Right forward; the value matrix gets no gradient for its last head.

Target: attention_prelude
Stage: verify
Expected: gradient
Notes: C5, C28
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
    value = torch.cat([value[:-1], value[-1:].detach()])
    q, k, v = (F.linear(x, m.flatten(0, 1)).unflatten(-1, m.shape[:2]) for m in (query, key, value))
    return turned(q, cos, sin, eps), turned(k, cos, sin, eps), v
