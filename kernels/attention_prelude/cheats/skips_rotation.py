"""Norms without turning. Expected: numeric"""

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
    size = (q.shape[-1],)
    return F.rms_norm(q, size, eps=eps), F.rms_norm(k, size, eps=eps), v
