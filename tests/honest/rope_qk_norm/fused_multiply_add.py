"""addcmul for the rotation, float32 inside."""

import torch
import torch.nn.functional as F


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = x.float().chunk(2, dim=-1)
    turned_first = torch.addcmul(first * cos, second, sin)
    turned_second = torch.addcmul(second * cos, first, sin, value=-1)
    y = torch.cat([turned_first, turned_second], dim=-1)
    return F.rms_norm(y, (y.shape[-1],), eps=eps).to(x.dtype)


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = cos.float()[None, :, None, :], sin.float()[None, :, None, :]
    return turned(q, cos, sin, eps), turned(k, cos, sin, eps)
