"""Tokens in one row, gates and embeddings multiplied by einsum, into a result of its own."""

import torch


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    read = x[..., : weight.shape[1]].float().flatten(0, 1)
    gate = torch.sigmoid(torch.einsum("tc,hc->th", read, weight.float()))
    gated = torch.einsum("th,thd->thd", 2 * gate, embedding.float().flatten(0, 1))
    return (gated.view(value.shape) + value.float()).to(value.dtype)
