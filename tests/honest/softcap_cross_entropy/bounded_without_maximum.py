"""Soft-capped logits are at most the cap, so the largest need not be looked for."""

import torch


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    total = (capped - softcap).exp().sum(1).log() + softcap
    chosen = capped.gather(1, targets.clamp_min(0)[:, None])[:, 0]
    return torch.where(targets >= 0, total - chosen, 0.0)
