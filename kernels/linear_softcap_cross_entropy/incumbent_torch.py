"""What upstream's trainer does: the head's product, then float32, soft cap and cross-entropy."""

import torch
import torch.nn.functional as F


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    """Loss of each token, [tokens]; x [tokens, width], head [vocab, width], targets (-1: none)."""
    logits = F.linear(x, head)
    logits = softcap * torch.tanh(logits.float() / softcap)
    return F.cross_entropy(logits, targets, ignore_index=-1, reduction="none")
