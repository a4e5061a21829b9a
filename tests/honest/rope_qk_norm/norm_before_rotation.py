"""Normalises first: a rotation keeps the length, so the order does not matter."""

import torch


def scaled(x: torch.Tensor, eps: float) -> torch.Tensor:
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float) -> torch.Tensor:
    first, second = scaled(x.float(), eps).chunk(2, dim=-1)
    y = torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
    return y.to(x.dtype)


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = cos.float()[None, :, None, :], sin.float()[None, :, None, :]
    return turned(q, cos, sin, eps), turned(k, cos, sin, eps)
