"""Reads the last channels of x instead of the first.

Target: value_embed_gate
Stage: verify
Expected: numeric or gradient
Notes: C12
"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    gate = 2 * torch.sigmoid(F.linear(x[..., -weight.shape[1] :], weight))
    return value + gate.unsqueeze(-1) * embedding
