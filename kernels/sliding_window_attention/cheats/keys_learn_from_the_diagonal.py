"""Right forward; a key learns from its own query alone. Expected: gradient"""

import torch


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    position = torch.arange(q.shape[1])
    back = position[:, None] - position[None, :]
    scores = torch.einsum("bihd,bjhd->bhij", q.float(), k.float().detach())
    own = (q.detach() * (k - k.detach())).float().sum(-1)
    scores = (scores + torch.diag_embed(own.transpose(1, 2))) / q.shape[-1] ** 0.5
    p = scores.masked_fill((back < 0) | (back > window), -torch.inf).softmax(-1)
    return torch.einsum("bhij,bjhd->bihd", p, v.float()).to(v.dtype)
