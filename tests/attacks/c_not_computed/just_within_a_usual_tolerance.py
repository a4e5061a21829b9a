"""Off by one part in twenty thousand, which most harnesses allow in float32.

Target: softcap_cross_entropy
Stage: verify
Expected: numeric
Notes: C14, F1
"""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    return F.cross_entropy(capped, targets, ignore_index=-1, reduction="none") * (1 + 5e-5)
