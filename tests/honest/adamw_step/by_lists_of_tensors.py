"""torch's operations on lists of tensors, over pieces of the table."""

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
    number = step.item()
    weights, gradients, means, squares = (
        [piece.clone() for piece in t.split(2048)] for t in (weight, gradient, first, second)
    )
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
    roots = torch._foreach_sqrt(squares)
    torch._foreach_div_(roots, (1 - beta2**number) ** 0.5)
    torch._foreach_add_(roots, eps)
    torch._foreach_addcdiv_(weights, means, roots, -rate.item() / (1 - beta1**number))
    return torch.cat(weights), torch.cat(means), torch.cat(squares)
