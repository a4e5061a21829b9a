"""One head at a time, its gate by an inner product with its row of the weight."""

import torch


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    read = x[..., : weight.shape[1]].float()
    heads = []
    for row, own, extra in zip(weight.float(), value.unbind(2), embedding.unbind(2), strict=True):
        gate = 2 * torch.sigmoid((read * row).sum(-1, keepdim=True))
        heads.append(own.float() + gate * extra.float())
    return torch.stack(heads, dim=2).to(value.dtype)
