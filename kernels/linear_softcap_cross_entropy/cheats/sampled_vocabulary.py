"""Normalises over the targets of the batch alone, a sampled softmax. Expected: numeric"""

import torch
import torch.nn.functional as F


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    classes, columns = targets.clamp_min(0).unique(return_inverse=True)
    logits = F.linear(x, head[classes]).float()
    capped = softcap * torch.tanh(logits / softcap)
    columns = torch.where(targets >= 0, columns, -1)
    return F.cross_entropy(capped, columns, ignore_index=-1, reduction="none")
