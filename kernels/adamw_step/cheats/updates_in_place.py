"""Updates the weights where they lie, as an optimizer does. Expected: input_changed"""

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
    one, two = 1 - beta1**step, 1 - beta2**step
    weight.copy_(weight - rate * (m / one) / ((v / two).sqrt() + eps))
    return weight.clone(), m, v
