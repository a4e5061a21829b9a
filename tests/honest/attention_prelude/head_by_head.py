"""One head at a time, with the halves of its matrix multiplied apart."""

import torch


def turned(
    first: torch.Tensor, second: torch.Tensor, c: torch.Tensor, s: torch.Tensor, eps: float
) -> torch.Tensor:
    y = torch.cat([first * c + second * s, second * c - first * s], dim=-1)
    size = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
    return y / (size.square() / y.shape[-1] + eps).sqrt()


def attention_prelude(
    x: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    wide, c, s = x.float(), cos.float(), sin.float()
    q, k, v = (
        [[wide @ half.T for half in head.float().chunk(2)] for head in matrix]
        for matrix in (query, key, value)
    )
    q, k = ([turned(*halves, c, s, eps) for halves in heads] for heads in (q, k))
    v = [torch.cat(halves, dim=-1) for halves in v]
    q, k, v = (torch.stack(heads, dim=2).to(x.dtype) for heads in (q, k, v))
    return q, k, v
