"""The formulas as they stand, in float64, rounded once."""

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
    g, m, v = (t.double() for t in (gradient, first, second))
    m = m * beta1 + g * (1 - beta1)
    v = v * beta2 + g.square() * (1 - beta2)
    mean, mean_square = m / (1 - beta1 ** step.double()), v / (1 - beta2 ** step.double())
    updated = weight - rate.double() * mean / (mean_square.sqrt() + eps)
    return updated.float(), m.float(), v.float()
