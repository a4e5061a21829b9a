"""The oracle of `relu_squared`: plain torch in the dtype it is given, with autograd's gradient."""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    """x [batch, sequence, hidden] -> max(x, 0)^2, the same shape."""
    positive = torch.relu(x)
    return positive * positive
