"""Leaves the gate between 0 and 1. Expected: numeric"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    return (
        value + torch.sigmoid(F.linear(x[..., : weight.shape[1]], weight)).unsqueeze(-1) * embedding
    )
