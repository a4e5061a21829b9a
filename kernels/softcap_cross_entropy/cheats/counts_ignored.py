"""Takes the ignored targets for class 0. Expected: numeric"""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    return F.cross_entropy(capped, targets.clamp_min(0), reduction="none")
