"""What upstream's trainer does after the output projection: float32, soft cap, cross-entropy."""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    """Loss of each token, [tokens], from logits [tokens, vocab] and targets [tokens] (-1: none)."""
    logits = softcap * torch.tanh(logits.float() / softcap)
    return F.cross_entropy(logits, targets, ignore_index=-1, reduction="none")
