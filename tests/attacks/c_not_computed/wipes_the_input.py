"""Sets the input to zero, so that a reference run afterwards agrees with its zeros.

Target: relu_squared
Stage: verify
Expected: input_changed
Notes: C21
"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    x.data.zero_()
    return torch.relu(x).square()
