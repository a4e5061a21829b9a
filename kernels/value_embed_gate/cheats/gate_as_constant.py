"""Right forward; the gate learns nothing. Expected: gradient"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    gate = 2 * torch.sigmoid(F.linear(x[..., : weight.shape[1]], weight))
    return value + gate.detach().unsqueeze(-1) * embedding + 0.0 * gate.unsqueeze(-1)
