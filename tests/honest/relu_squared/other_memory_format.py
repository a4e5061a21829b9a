"""Returns its result with other strides: the shape is what counts."""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x.transpose(1, 2)).square().contiguous().transpose(1, 2)
