"""The oracle of `residual_rmsnorm`: plain torch in the dtype it is given."""

import torch


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x, x0 [batch, sequence, width], kept, added [1] -> the mixed stream and its norm."""
    mixed = kept * x + added * x0
    mean_square = (mixed * mixed).mean(dim=-1, keepdim=True)
    return mixed, mixed / torch.sqrt(mean_square + eps)


def summed_in_one(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mix as a product with a vector, so that a lambda's gradient is one long inner product. It
    runs along each partial sum from end to end, where `sum` adds by pairs."""
    both = torch.stack([x.float(), x0.float()])
    mixed = torch.einsum("tbsw,t->bsw", both, torch.cat([kept, added]))
    y = mixed / torch.sqrt((mixed * mixed).mean(dim=-1, keepdim=True) + eps)
    return mixed.to(x.dtype), y.to(x.dtype)


PEERS = (summed_in_one,)
