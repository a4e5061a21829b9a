"""Right forward, but outside the graph. Expected: gradient_missing"""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.detach().float() / softcap)
    return F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
