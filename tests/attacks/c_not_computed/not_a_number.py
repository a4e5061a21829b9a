"""Returns NaN everywhere, which some checks take for equal.

Target: rmsnorm
Stage: verify
Expected: not_finite
Notes: C16, A12
"""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return x * float("nan")
