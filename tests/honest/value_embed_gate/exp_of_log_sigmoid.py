"""The gate from its logarithm, as the two is added to it there; float32 inside."""

import math

import torch
import torch.nn.functional as F


def value_embed_gate(
    x: torch.Tensor, weight: torch.Tensor, value: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    z = x[..., : weight.shape[1]].float() @ weight.float().T
    gate = torch.exp(F.logsigmoid(z) + math.log(2.0))
    return (value.float() + gate.unsqueeze(-1) * embedding.float()).to(value.dtype)
