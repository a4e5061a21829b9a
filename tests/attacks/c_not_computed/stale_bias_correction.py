"""Computes the bias corrections in its first call and keeps them for all steps.

Target: adamw_step
Stage: verify
Expected: numeric
Notes: C10
"""

import torch

CORRECTIONS: list[float] = []


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
    if not CORRECTIONS:
        CORRECTIONS.extend(1 - beta ** step.item() for beta in (beta1, beta2))
    one, two = CORRECTIONS
    m = beta1 * first + (1 - beta1) * gradient
    v = beta2 * second + (1 - beta2) * gradient * gradient
    return weight - rate * (m / one) / ((v / two).sqrt() + eps), m, v
