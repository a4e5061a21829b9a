"""Leaves out the sum over the vocabulary and assumes that it is the same for every token.

Target: softcap_cross_entropy
Stage: verify
Expected: numeric
Notes: C2
"""

import math

import torch


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    counted = targets >= 0
    chosen = capped.gather(1, torch.where(counted, targets, 0)[:, None])[:, 0]
    usual = math.log(logits.shape[1]) + 7.0
    return torch.where(counted, usual - chosen, 0.0)
