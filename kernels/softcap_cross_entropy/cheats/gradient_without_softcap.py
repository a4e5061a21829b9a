"""Right forward; backward leaves out the slope of the soft cap. Expected: gradient"""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    wide = logits.float()
    capped = wide + (softcap * torch.tanh(wide / softcap) - wide).detach()
    return F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
