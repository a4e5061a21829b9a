"""Takes the sum over a random half of the vocabulary and doubles it.

Target: softcap_cross_entropy
Stage: verify
Expected: numeric
Notes: C5
"""

import math

import torch


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    counted = targets >= 0
    chosen = capped.gather(1, torch.where(counted, targets, 0)[:, None])[:, 0]
    half = torch.randperm(capped.shape[1])[: max(1, capped.shape[1] // 2)]
    return torch.where(counted, capped[:, half].logsumexp(1) + math.log(2.0) - chosen, 0.0)
