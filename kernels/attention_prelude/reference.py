"""The oracle of `attention_prelude`: plain torch in the dtype it is given."""

import torch


def attention_prelude(
    x: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [batch, sequence, width], matrices [heads, head_dim, width], tables [sequence,
    head_dim / 2] -> q, k and v [batch, sequence, heads, head_dim]."""
    q, k, v = (torch.einsum("bsw,hdw->bshd", x, matrix) for matrix in (query, key, value))
    return _normed(_turned(q, cos, sin), eps), _normed(_turned(k, cos, sin), eps), v


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    c, s = cos[:, None], sin[:, None]
    return torch.cat([first * c + second * s, second * c - first * s], dim=-1)


def _normed(x: torch.Tensor, eps: float) -> torch.Tensor:
    return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + eps)
