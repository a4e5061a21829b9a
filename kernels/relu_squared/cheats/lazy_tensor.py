"""Returns a tensor subclass that could do the work when it is looked at. Expected: not_a_tensor"""

import torch


class Lazy(torch.Tensor):
    pass


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square().as_subclass(Lazy)
