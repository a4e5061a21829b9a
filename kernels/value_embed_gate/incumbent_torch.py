"""What upstream's trainer does in layers with a value embedding: a gate per head, read from x."""

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    """x [batch, sequence, width], weight [heads, channels], value and embedding
    [batch, sequence, heads, head_dim] -> the shape of value."""
    gate = 2 * torch.sigmoid(F.linear(x[..., : weight.shape[1]], weight))
    return value + gate.unsqueeze(-1) * embedding
