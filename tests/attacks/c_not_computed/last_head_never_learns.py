"""Right forward; the last head's row of the weight gets no gradient.

Target: value_embed_gate
Stage: verify
Expected: gradient
Notes: C5, C28
"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    learning = torch.cat([weight[:-1], weight[-1:].detach()])
    gate = 2 * torch.sigmoid(F.linear(x[..., : weight.shape[1]], learning))
    return value + gate.unsqueeze(-1) * embedding
