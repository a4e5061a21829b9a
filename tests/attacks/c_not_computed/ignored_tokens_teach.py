"""Right losses; the tokens to ignore count as class 0 in the backward pass.

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
    capped = softcap * torch.tanh(F.linear(x, head).float() / softcap)
    loss = F.cross_entropy(capped, targets.clamp_min(0), reduction="none")
    return loss - torch.where(targets >= 0, 0.0, loss.detach())
