"""Right forward; backward raises the target and lowers nothing. Expected: gradient"""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    capped = softcap * torch.tanh(logits.float() / softcap)
    loss = F.cross_entropy(capped.detach(), targets, ignore_index=-1, reduction="none")
    target = capped.gather(1, targets.clamp_min(0)[:, None])[:, 0]
    return loss + torch.where(targets >= 0, target.detach() - target, 0.0)
