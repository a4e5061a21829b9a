"""A plain ReLU. Expected: numeric"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x)
