"""Returns zeros. Expected: numeric"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    gate = F.linear(x[..., : weight.shape[1]], weight).unsqueeze(-1)
    return (value + gate * embedding) * 0.0
