"""Leaves out the soft cap, which small logits hardly feel. Expected: numeric"""

import torch
import torch.nn.functional as F


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    logits = F.linear(x, head).float()
    return F.cross_entropy(logits, targets, ignore_index=-1, reduction="none")
