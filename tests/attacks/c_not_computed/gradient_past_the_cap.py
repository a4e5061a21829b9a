"""Right forward; backward takes the soft cap for the identity, as where logits are small.

Target: linear_softcap_cross_entropy
Stage: verify
Expected: gradient
Notes: C28
"""

import torch
import torch.nn.functional as F


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    logits = F.linear(x, head).float()
    bend = (softcap * torch.tanh(logits / softcap) - logits).detach()
    return F.cross_entropy(logits + bend, targets, ignore_index=-1, reduction="none")
