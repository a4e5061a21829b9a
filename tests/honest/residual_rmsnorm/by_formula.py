"""The formulas as they stand, in float32, each result rounded once."""

import torch


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    mixed = kept * x.float() + added * x0.float()
    y = mixed * (mixed.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
    return mixed.to(x.dtype), y.to(x.dtype)
