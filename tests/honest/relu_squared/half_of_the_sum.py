"""x (x + |x|) / 2: no comparison at all."""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x) * ((x + x.abs()) * 0.5)
