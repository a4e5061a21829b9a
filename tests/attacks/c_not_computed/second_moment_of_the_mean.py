"""Feeds the second moment with the square of the first instead of the gradient's.

Target: adamw_step
Stage: verify
Expected: numeric
Notes: C10
"""

import torch


def adamw_step(
    weight: torch.Tensor,
    gradient: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    rate: torch.Tensor,
    step: torch.Tensor,
    beta1: float,
    beta2: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    m = beta1 * first + (1 - beta1) * gradient
    v = beta2 * second + (1 - beta2) * m * m
    one, two = 1 - beta1**step, 1 - beta2**step
    return weight - rate * (m / one) / ((v / two).sqrt() + eps), m, v
