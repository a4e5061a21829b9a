"""Right forward; backward leaves out the slope of the sigmoid. Expected: gradient"""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    line = F.linear(x[..., : weight.shape[1]], weight)
    gate = line + (2 * torch.sigmoid(line) - line).detach()
    return value + gate.unsqueeze(-1) * embedding
