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
    return _attended(q, k, v, window, logarithms=False)


def from_logarithms(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """Probabilities from the logarithm of each row's sum, as kernels that stream over the keys make
    them again. Their sum is not quite 1, and the gradient of a score is p (dp - sum(dy y)), whose
    parts are rounded apart: where one key has all of the probability, it is what rounding leaves.
    """
    wide = (q.float(), k.float(), v.float())
    return _attended(*wide, window, logarithms=True).to(q.dtype)


PEERS = (from_logarithms,)


def _attended(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int, *, logarithms: bool
) -> torch.Tensor:
    position = torch.arange(q.shape[1])
    found = []
    for some in position.split(QUERIES):
        near = position[(position >= some[0] - window) & (position <= some[-1])]
        scores = torch.einsum("bihd,bjhd->bhij", q[:, some], k[:, near]) / q.shape[-1] ** 0.5
        back = some[:, None] - near[None, :]
        scores = scores.masked_fill((back < 0) | (back > window), float("-inf"))
        p = _from_logarithms(scores) if logarithms else scores.softmax(dim=-1)
        y = torch.einsum("bhij,bjhd->bihd", p, v[:, near])
        if logarithms:
            # Divided by one, which changes nothing but the way that the gradient takes.
            total = p.sum(dim=-1).transpose(1, 2).unsqueeze(-1)
            y = y / (1 + total - total.detach())
        found.append(y)
    return torch.cat(found, dim=1)


def _from_logarithms(scores: torch.Tensor) -> torch.Tensor:
    return (scores - scores.logsumexp(dim=-1, keepdim=True).detach()).exp()
