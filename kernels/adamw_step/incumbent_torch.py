"""What upstream's trainer does, torch's fused AdamW, on copies: it works in place."""

import torch
from torch.optim.adamw import adamw


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
    updated, new_first, new_second = weight.clone(), first.clone(), second.clone()
    adamw(
        [updated],
        [gradient.contiguous()],  # the fused step does not look at strides
        [new_first],
        [new_second],
        [],
        [step.squeeze(0) - 1],
        fused=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=rate.item(),
        weight_decay=0.0,
        eps=eps,
        maximize=False,
    )
    return updated, new_first, new_second
