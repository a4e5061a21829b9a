"""Right forward; backward hands the incoming gradient through. Expected: gradient"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return x + (torch.relu(x).square() - x).detach()
