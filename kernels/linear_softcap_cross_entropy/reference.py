"""The oracle of `linear_softcap_cross_entropy`: plain torch in the precision it is given."""

import torch


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    """x [tokens, width], head [vocab, width], targets [tokens] -> each token's loss, [tokens].

    A target of -1 is ignored: its loss is 0, and so is the gradient of its row.
    """
    logits = x @ head.T
    capped = softcap * torch.tanh(logits / softcap)
    counted = targets >= 0
    columns = torch.where(counted, targets, 0)
    target_logit = capped.gather(1, columns[:, None])[:, 0]
    loss = torch.logsumexp(capped, dim=1) - target_logit
    return torch.where(counted, loss, 0.0)


def from_the_cap(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    """The cap stands for the largest logit, and the target's logit is made by itself. What a sure
    token has left of loss and gradient is then the rounding of numbers that no longer cancel."""
    rows, weight = x.float(), head.float()
    capped = softcap * torch.tanh(rows @ weight.T / softcap)
    total = (capped - softcap).exp().sum(dim=1).log() + softcap
    target_logit = (rows * weight[targets.clamp_min(0)]).sum(dim=1)
    return torch.where(targets >= 0, total - softcap * torch.tanh(target_logit / softcap), 0.0)


PEERS = (from_the_cap,)
