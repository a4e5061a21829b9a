"""Leaves out the last columns where the vocabulary is no multiple of its block.

Target: softcap_cross_entropy
Stage: verify
Expected: numeric or gradient
Notes: C12
"""

import torch

BLOCK = 64


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    counted = targets >= 0
    chosen = capped.gather(1, torch.where(counted, targets, 0)[:, None])[:, 0]
    whole = max(BLOCK, capped.shape[1] // BLOCK * BLOCK)
    return torch.where(counted, capped[:, :whole].logsumexp(1) - chosen, 0.0)
