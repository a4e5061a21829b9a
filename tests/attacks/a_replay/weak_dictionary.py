"""Remembers the answer as long as the input tensor lives, in a weak dictionary.

Target: softcap_cross_entropy
Stage: verify
Expected: stale_output
Notes: A7
"""

import torch
import torch.nn.functional as F
from torch.utils.weak import WeakTensorKeyDictionary

ANSWERS = WeakTensorKeyDictionary()


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    if logits in ANSWERS:
        return ANSWERS[logits]
    capped = softcap * torch.tanh(logits.float() / softcap)
    loss = F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
    ANSWERS[logits] = loss.detach()
    return loss
