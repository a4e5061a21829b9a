"""Returns a single mean, which a comparison by broadcasting would spread over the tensor.

Target: relu_squared
Stage: verify
Expected: shape
Notes: C18
"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square().mean().reshape(1)
