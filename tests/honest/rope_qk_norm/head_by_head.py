"""One head at a time."""

import torch
import torch.nn.functional as F


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    heads = []
    for head in x.unbind(2):
        first, second = head.chunk(2, dim=-1)
        y = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
        heads.append(F.rms_norm(y, (y.shape[-1],), eps=eps))
    return torch.stack(heads, dim=2)


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return turned(q, cos, sin, eps), turned(k, cos, sin, eps)
