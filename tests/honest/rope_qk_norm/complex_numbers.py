"""The rotation as a product of complex numbers."""

import torch
import torch.nn.functional as F


def turned(x: torch.Tensor, turn: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = x.float().chunk(2, dim=-1)
    y = torch.complex(first, second) * turn
    joined = torch.cat([y.real, y.imag], dim=-1)
    return F.rms_norm(joined, (x.shape[-1],), eps=eps).to(x.dtype)


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    turn = torch.complex(cos.float(), -sin.float())[None, :, None, :]
    return turned(q, turn, eps), turned(k, turn, eps)
