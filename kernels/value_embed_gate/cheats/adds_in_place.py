"""Adds to value itself and returns a copy of it. Expected: input_changed"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    gate = 2 * torch.sigmoid(F.linear(x[..., : weight.shape[1]], weight))
    y = value + gate.unsqueeze(-1) * embedding
    value.data.copy_(y.detach())
    return y
