"""Of keys more than 16 back it sees the mean, scored once: most pairs of a long window are saved.

Target: sliding_window_attention
Stage: verify
Expected: numeric
Notes: C5
"""

import torch

NEAR = 16


def means(x: torch.Tensor, window: int) -> torch.Tensor:
    """[batch, sequence, heads, head_dim]: of what lies more than NEAR and at most window back."""
    position = torch.arange(x.shape[1])
    back = position[:, None] - position[None, :]
    far = ((back > NEAR) & (back <= window)).to(x.dtype)
    far = far / far.sum(-1, keepdim=True).clamp_min(1)
    return torch.einsum("ij,bjhd->bihd", far, x)


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    wide_q, wide_k, wide_v = q.float(), k.float(), v.float()
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    near = torch.einsum("bihd,bjhd->bhij", wide_q, wide_k)
    near = near.masked_fill((back < 0) | (back > min(window, NEAR)), -torch.inf)
    count = (position.clamp_max(window) - NEAR).clamp_min(0)
    far = torch.einsum("bihd,bihd->bhi", wide_q, means(wide_k, window))
    scores = torch.cat([near, far[..., None]], dim=-1) / q.shape[-1] ** 0.5
    scores[..., -1] += count.log()
    p = scores.softmax(-1)
    y = torch.einsum("bhij,bjhd->bihd", p[..., :-1], wide_v)
    return (y + p[..., -1].transpose(1, 2)[..., None] * means(wide_v, window)).to(v.dtype)
