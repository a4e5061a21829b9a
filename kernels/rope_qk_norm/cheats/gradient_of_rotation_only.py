"""Right forward; backward leaves out the norm's projection. Expected: gradient"""

import torch


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return _one(q, cos[:, None], sin[:, None], eps), _one(k, cos[:, None], sin[:, None], eps)


def _one(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = cos.float(), sin.float()
    rotated = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    scale = (rotated.detach().square().mean(-1, keepdim=True) + eps).rsqrt()
    return (rotated * scale).to(x.dtype)
