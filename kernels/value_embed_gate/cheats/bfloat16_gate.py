"""Makes the gate in bfloat16. Expected: numeric"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    read, narrow = x[..., : weight.shape[1]].bfloat16(), weight.bfloat16()
    gate = 2 * torch.sigmoid(F.linear(read, narrow)).to(value.dtype)
    return value + gate.unsqueeze(-1) * embedding
