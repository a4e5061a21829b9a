"""The oracle of `softcap_cross_entropy`: plain torch in the precision it is given."""

import torch


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    """logits [tokens, vocab], targets [tokens] -> the loss of each token, [tokens].

    A target of -1 is ignored: its loss is 0, and so is the gradient of its row.
    """
    capped = softcap * torch.tanh(logits / softcap)
    counted = targets >= 0
    columns = torch.where(counted, targets, 0)
    target_logit = capped.gather(1, columns[:, None])[:, 0]
    loss = torch.logsumexp(capped, dim=1) - target_logit
    return torch.where(counted, loss, 0.0)


def from_the_cap(logits: torch.Tensor, targets: torch.Tensor, softcap: float) -> torch.Tensor:
    """The cap stands for the largest logit, which then need not be looked for. A loss near zero is
    the difference of two numbers of the cap's size, and keeps their rounding."""
    capped = softcap * torch.tanh(logits.float() / softcap)
    total = (capped - softcap).exp().sum(dim=1).log() + softcap
    target_logit = capped.gather(1, targets.clamp_min(0)[:, None])[:, 0]
    return torch.where(targets >= 0, total - target_logit, 0.0)


PEERS = (from_the_cap,)
