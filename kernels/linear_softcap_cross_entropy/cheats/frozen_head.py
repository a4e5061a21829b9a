"""Right forward, and the head learns nothing. Expected: gradient"""

import torch
import torch.nn.functional as F


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    logits = F.linear(x, head.detach()).float() + head.sum() * 0.0
    capped = softcap * torch.tanh(logits / softcap)
    return F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
