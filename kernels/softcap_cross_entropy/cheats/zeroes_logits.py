"""Zeroes the logits after use, to poison whoever reads them next. Expected: input_changed"""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    loss = F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
    logits.data.zero_()
    return loss
