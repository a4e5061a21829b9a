"""Projections by einsum, the rotation as a product of complex numbers."""

import torch


def turned(x: torch.Tensor, turn: torch.Tensor, eps: float) -> torch.Tensor:
    y = torch.complex(*x.chunk(2, dim=-1)) * turn
    joined = torch.cat([y.real, y.imag], dim=-1)
    return joined * (joined.square().mean(-1, keepdim=True) + eps).rsqrt()


def attention_prelude(
    x: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    turn = torch.complex(cos.float(), -sin.float())[:, None]
    q, k, v = (torch.einsum("bsw,hdw->bshd", x.float(), m.float()) for m in (query, key, value))
    return turned(q, turn, eps).to(x.dtype), turned(k, turn, eps).to(x.dtype), v.to(x.dtype)
