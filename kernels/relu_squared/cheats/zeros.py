"""Returns zeros, which is right for half of the elements. Expected: numeric"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return x * 0.0
