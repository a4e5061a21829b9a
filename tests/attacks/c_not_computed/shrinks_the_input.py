"""Makes the input smaller in the first call, so that later calls have less to do.

Target: relu_squared
Stage: verify
Expected: input_changed or shape or raised
Notes: C31
"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    y = torch.relu(x).square()
    x.data = x.data[:1, :1, :1]
    return y
