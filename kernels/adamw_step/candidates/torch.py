"""AdamW as five operations that write straight into the results: a starting point, not a gain.

On a CPU torch's fused step, copies included, moves 13 tensors of the table's size through memory;
these operations move 17, and chunks small enough for the cache cost more to start than they save.
One kernel need move 7: that is for a language in which one can be written. The bias correction of
the second moment is divided out of the root, so that no operation is spent on it.
"""

import torch


def adamw_step(
    weight: torch.Tensor,
    gradient: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    rate: torch.Tensor,
    step: torch.Tensor,
    beta1: float,
    beta2: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All [weights] but rate and step [1] -> the weights and both moments after the step."""
    corrections = [1 - beta ** step.item() for beta in (beta1, beta2)]
    root_correction = corrections[1] ** 0.5
    size = rate.item() / corrections[0] * root_correction
    new_first = torch.lerp(first, gradient, 1 - beta1)
    new_second = torch.mul(second, beta2).addcmul_(gradient, gradient, value=1 - beta2)
    root = torch.sqrt(new_second).add_(eps * root_correction)
    return torch.addcdiv(weight, new_first, root, value=-size, out=root), new_first, new_second
