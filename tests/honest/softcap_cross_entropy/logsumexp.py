"""The logarithm of the sum less the target's logit."""

import torch


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    counted = targets >= 0
    chosen = capped.gather(1, targets.clamp_min(0)[:, None])[:, 0]
    return torch.where(counted, capped.logsumexp(1) - chosen, 0.0)
