"""One product with the three matrices under each other; queries and keys turned together."""

import torch
import torch.nn.functional as F


def attention_prelude(
    x: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    heads, head_dim, width = query.shape
    matrices = torch.cat([query, key, value]).float().view(-1, width)
    every = F.linear(x.float(), matrices).unflatten(-1, (3 * heads, head_dim))
    first, second = every[:, :, : 2 * heads].chunk(2, dim=-1)
    c, s = cos.float()[:, None], sin.float()[:, None]
    y = torch.cat([first * c + second * s, second * c - first * s], dim=-1)
    y = F.rms_norm(y, (head_dim,), eps=eps).to(x.dtype)
    return y[:, :, :heads], y[:, :, heads:], every[:, :, 2 * heads :].to(x.dtype)
