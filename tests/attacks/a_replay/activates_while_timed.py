"""Honest for so many calls that any check has passed, then the last answer of that shape.

Target: rope_qk_norm
Stage: bench
Expected: timed_output_wrong or numeric
Notes: A6, A14
"""

import torch
import torch.nn.functional as F

HONEST_CALLS = 200
CALLS: list[int] = [0]
LAST: dict[torch.Size, tuple[torch.Tensor, torch.Tensor]] = {}


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    y = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    return F.rms_norm(y, (y.shape[-1],), eps=eps)


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    CALLS[0] += 1
    if CALLS[0] > HONEST_CALLS and q.shape in LAST:
        kept_q, kept_k = LAST[q.shape]
        return kept_q + 0 * q, kept_k + 0 * k
    found = turned(q, cos, sin, eps), turned(k, cos, sin, eps)
    LAST[q.shape] = found[0].detach(), found[1].detach()
    return found
