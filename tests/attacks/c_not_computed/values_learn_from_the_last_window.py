"""Right forward; a value learns from the queries of the second half alone.

Target: sliding_window_attention
Stage: verify
Expected: gradient
Notes: C28
"""

import torch


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    scores = torch.einsum("bihd,bjhd->bhij", q.float(), k.float()) / q.shape[-1] ** 0.5
    p = scores.masked_fill((back < 0) | (back > window), -torch.inf).softmax(-1)
    early, late = p.split([q.shape[1] // 2, q.shape[1] - q.shape[1] // 2], dim=2)
    y = [
        torch.einsum("bhij,bjhd->bihd", early, v.float().detach()),
        torch.einsum("bhij,bjhd->bihd", late, v.float()),
    ]
    return torch.cat(y, dim=1).to(v.dtype)
