"""Makes the logits in bfloat16, as a GPU would like to. Expected: numeric"""

import torch
import torch.nn.functional as F


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    logits = F.linear(x.bfloat16(), head.bfloat16()).float()
    capped = softcap * torch.tanh(logits / softcap)
    return F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
