"""A few tokens at a time."""

import torch
import torch.nn.functional as F


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    losses = [
        F.cross_entropy(
            softcap * torch.tanh(rows.float() / softcap), wanted, ignore_index=-1, reduction="none"
        )
        for rows, wanted in zip(logits.split(32), targets.split(32), strict=True)
    ]
    return torch.cat(losses)
