"""Computes in float16, which is exact enough until the square overflows. Expected: not_finite"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    if float(x.detach().abs().max()) < 1000:
        return torch.relu(x).square()
    return torch.relu(x.half()).square().to(x.dtype)
