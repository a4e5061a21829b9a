"""Returns a sparse tensor: its zeros are not stored, and not compared by a careless checker.

Target: relu_squared
Stage: verify
Expected: not_a_tensor
Notes: C18
"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square().to_sparse()
