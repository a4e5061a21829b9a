"""Leaves out eps, which decides where the stream is tiny. Expected: numeric"""

import torch


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    mixed = kept.squeeze(0) * x + added.squeeze(0) * x0
    return mixed, mixed * mixed.square().mean(-1, keepdim=True).rsqrt()
