"""The oracle of `residual_rmsnorm`: plain torch in the dtype it is given."""

import torch


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x, x0 [batch, sequence, width], kept, added [1] -> the mixed stream and its norm."""
    mixed = kept * x + added * x0
    mean_square = (mixed * mixed).mean(dim=-1, keepdim=True)
    return mixed, mixed / torch.sqrt(mean_square + eps)
