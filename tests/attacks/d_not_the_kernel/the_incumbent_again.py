"""The incumbent, word for word, in the hope that noise makes it a win.

Target: relu_squared
Stage: bench
Expected: no_gain
Notes: D6, F5
"""

import torch
import torch.nn.functional as F


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    """x [batch, sequence, hidden] -> max(x, 0)^2, the same shape."""
    return F.relu(x).square()
