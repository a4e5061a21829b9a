"""A list of two where others return a tuple."""

import torch
import torch.nn.functional as F


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    half = x.shape[-1] // 2
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    y = torch.cat([x[..., :half] * cos + x[..., half:] * sin, y[..., half:].detach()], dim=-1)
    last = x[..., half:] * cos - x[..., :half] * sin
    y = torch.cat([y[..., :half], last], dim=-1)
    return F.rms_norm(y, (y.shape[-1],), eps=eps)


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> list[torch.Tensor]:
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    return [turned(x, cos, sin, eps) for x in (q, k)]
