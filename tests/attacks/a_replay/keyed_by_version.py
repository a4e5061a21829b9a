"""Remembers answers by address and version counter, which a write through an alias leaves alone.

Target: relu_squared
Stage: verify
Expected: stale_output
Notes: A3
"""

import torch

ANSWERS: dict[tuple[int, int, torch.Size, torch.dtype], torch.Tensor] = {}


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    key = (x.data_ptr(), x._version, x.shape, x.dtype)
    if key not in ANSWERS:
        y = torch.relu(x).square()
        ANSWERS[key] = y.detach().clone()
        return y
    return ANSWERS[key]
