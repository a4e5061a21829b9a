"""The oracle of `adamw_step`: Loshchilov and Hutter, "Decoupled Weight Decay Regularization"."""

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
    """All [weights] but rate and step [1] -> the weights and both moments after the step."""
    new_first = beta1 * first + (1 - beta1) * gradient
    new_second = beta2 * second + (1 - beta2) * gradient * gradient
    mean = new_first / (1 - beta1**step)
    mean_square = new_second / (1 - beta2**step)
    return weight - rate * mean / (torch.sqrt(mean_square) + eps), new_first, new_second
