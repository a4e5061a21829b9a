"""Looks at the magnitude and takes bfloat16 where values are as small as a checker's.

Target: relu_squared
Stage: verify
Expected: numeric
Notes: C9
"""

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    if float(x.detach().abs().max()) < 100:
        return torch.relu(x.bfloat16()).square().to(x.dtype)
    return torch.relu(x).square()
