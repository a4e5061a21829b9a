"""Replaces tanh by a quotient of polynomials that is near it in the middle.

Target: softcap_cross_entropy
Stage: verify
Expected: numeric
Notes: C6
"""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    z = (logits.float() / softcap).clamp(-3, 3)
    capped = softcap * z * (27 + z * z) / (27 + 9 * z * z)
    return F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
