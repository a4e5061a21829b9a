"""The oracle of `rmsnorm`: plain torch in the dtype it is given, differentiated by autograd."""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    """x [batch, sequence, width] -> the same shape: every row divided by its root mean square."""
    mean_square = (x * x).mean(dim=-1, keepdim=True)
    return x / torch.sqrt(mean_square + eps)
