"""Reads the gates of the first token and opens them so for the whole sequence.

Target: value_embed_gate
Stage: verify
Expected: numeric or gradient
Notes: C2
"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    read = x[:, :1, : weight.shape[1]]
    gate = 2 * torch.sigmoid(F.linear(read, weight))
    return value + gate.unsqueeze(-1) * embedding
