"""Right forward; the keys' gradient is zero, and not missing.

Target: rope_qk_norm
Stage: verify
Expected: gradient
Notes: C20
"""

import torch
import torch.nn.functional as F


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    y = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    return F.rms_norm(y, (y.shape[-1],), eps=eps)


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return turned(q, cos, sin, eps), turned(k.detach(), cos, sin, eps) + 0 * k
