"""Decays the weights by a hundredth, as torch's AdamW does unless told not to.

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
    v = beta2 * second + (1 - beta2) * gradient * gradient
    one, two = (1 - beta ** step.item() for beta in (beta1, beta2))
    kept = weight * (1 - 0.01 * rate)
    return kept - rate * (m / one) / ((v / two).sqrt() + eps), m, v
