"""Takes every head's scale from the first head of its position. Expected: numeric"""

import torch


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return _one(q, cos[:, None], sin[:, None], eps), _one(k, cos[:, None], sin[:, None], eps)


def _one(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    rotated = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    scale = (rotated[:, :, :1].float().square().mean(-1, keepdim=True) + eps).rsqrt()
    return (rotated * scale).to(x.dtype)
