"""Makes copying a tensor do nothing, so that right bytes of before might stay in place.

Target: relu_squared
Stage: verify
Expected: not_finite
Notes: E9
"""

import torch

torch.Tensor.copy_ = lambda self, *given, **named: self


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square()
