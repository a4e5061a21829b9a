"""The target's logit by itself, from its row of the head; no maximum, as the cap is one."""

import torch


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    rows, weight = x.float(), head.float()
    columns = targets.clamp_min(0)
    capped = softcap * torch.tanh(rows @ weight.T / softcap)
    chosen = softcap * torch.tanh((rows * weight[columns]).sum(1) / softcap)
    total = (capped - softcap).exp().sum(1).log() + softcap
    return torch.where(targets >= 0, total - chosen, 0.0)
