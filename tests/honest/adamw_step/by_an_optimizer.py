"""An optimizer of torch's, given the moments and the number of the step as its state."""

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
    learned = weight.clone()
    learned.grad = gradient
    optimizer = torch.optim.Adam([learned], rate.item(), (beta1, beta2), eps, foreach=False)
    moments = {"exp_avg": first.clone(), "exp_avg_sq": second.clone()}
    optimizer.state[learned] = {"step": step[0] - 1, **moments}
    optimizer.step()
    return learned, moments["exp_avg"], moments["exp_avg_sq"]
