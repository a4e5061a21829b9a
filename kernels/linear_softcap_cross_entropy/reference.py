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
