"""Remembers one answer per shape and dtype. Expected: stale_output"""

from typing import Any

import torch
import torch.nn.functional as F

ANSWERS: dict[Any, tuple[torch.Tensor, ...]] = {}


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, ...]:
    key = (q.shape, q.dtype)
    if key not in ANSWERS:
        rotated = (_rotated(x, cos[:, None], sin[:, None]) for x in (q, k))
        answer = tuple(F.rms_norm(x, (x.shape[-1],), eps=eps) for x in rotated)
        ANSWERS[key] = tuple(x.detach().clone() for x in answer)
        return answer
    return ANSWERS[key]


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
