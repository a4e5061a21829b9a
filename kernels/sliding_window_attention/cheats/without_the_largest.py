"""Does not take the largest score off before the exponential. Expected: not_finite"""

import torch


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    scores = torch.einsum("bihd,bjhd->bhij", q.float(), k.float()) / q.shape[-1] ** 0.5
    p = scores.masked_fill((back < 0) | (back > window), -torch.inf).exp()
    p = p / p.sum(-1, keepdim=True)
    return torch.einsum("bhij,bjhd->bihd", p, v.float()).to(v.dtype)
