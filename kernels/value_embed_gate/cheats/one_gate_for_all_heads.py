"""Uses the mean gate for every head. Expected: numeric"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    gate = 2 * torch.sigmoid(F.linear(x[..., : weight.shape[1]], weight)).mean(-1, keepdim=True)
    return value + gate.unsqueeze(-1) * embedding
