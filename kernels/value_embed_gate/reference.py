"""The oracle of `value_embed_gate`: plain torch in the dtype it is given."""

import torch


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    """x [batch, sequence, width], weight [heads, channels], value and embedding
    [batch, sequence, heads, head_dim] -> value plus the embedding, gated per token and head."""
    gate = 2 * torch.sigmoid(x[..., : weight.shape[1]] @ weight.T)
    return value + gate[..., None] * embedding
