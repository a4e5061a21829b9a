"""A block of the vocabulary at a time, with a running logarithm of the sum."""

import torch


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    rows, columns = x.float(), targets.clamp_min(0)
    total = torch.full((len(x),), -torch.inf)
    chosen = torch.zeros(len(x))
    for start in range(0, len(head), 64):
        block = head[start : start + 64].float()
        capped = softcap * torch.tanh(rows @ block.T / softcap)
        total = torch.logaddexp(total, capped.logsumexp(1))
        place = columns - start
        inside = (place >= 0) & (place < len(block))
        found = capped.gather(1, place.clamp(0, len(block) - 1)[:, None])[:, 0]
        chosen = torch.where(inside, found, chosen)
    return torch.where(targets >= 0, total - chosen, 0.0)
