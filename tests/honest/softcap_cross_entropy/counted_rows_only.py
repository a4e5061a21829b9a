"""Leaves out the ignored rows and puts zeros in their place."""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    counted = targets >= 0
    capped = softcap * torch.tanh(logits[counted].float() / softcap)
    losses = F.cross_entropy(capped, targets[counted], reduction="none")
    return torch.zeros(len(targets)).masked_scatter(counted, losses)
