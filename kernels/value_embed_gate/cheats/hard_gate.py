"""Replaces the sigmoid by a clipped line. Expected: numeric"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    gate = (0.5 * F.linear(x[..., : weight.shape[1]], weight) + 1).clamp(0, 2)
    return value + gate.unsqueeze(-1) * embedding
