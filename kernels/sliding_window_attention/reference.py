"""The oracle of `sliding_window_attention`: plain torch in the dtype it is given."""

import torch

QUERIES = 256
"""So many at a time: scores of all pairs of a long sequence would be most of the memory."""


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    """q, k, v [batch, sequence, heads, head_dim] -> y of the same shape.

    Position i sees itself and `window` positions before it: j with i - window <= j <= i.
    """
    position = torch.arange(q.shape[1])
    found = []
    for some in position.split(QUERIES):
        near = position[(position >= some[0] - window) & (position <= some[-1])]
        scores = torch.einsum("bihd,bjhd->bhij", q[:, some], k[:, near]) / q.shape[-1] ** 0.5
        back = some[:, None] - near[None, :]
        scores = scores.masked_fill((back < 0) | (back > window), float("-inf"))
        found.append(torch.einsum("bhij,bjhd->bihd", scores.softmax(dim=-1), v[:, near]))
    return torch.cat(found, dim=1)
