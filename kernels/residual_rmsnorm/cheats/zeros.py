"""Returns zeros. Expected: numeric"""

import torch


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    mixed = (x + x0) * (kept + added).squeeze(0) * 0.0
    return mixed, mixed * 1.0
