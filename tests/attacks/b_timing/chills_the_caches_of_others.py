"""After its own answer it writes over a large buffer, so that the next arm starts with cold caches.

Target: relu_squared
Stage: bench
Expected: no_gain or clock_mismatch
Notes: B21
"""

import gc

import torch
import torch.nn.functional as F

RUBBISH = torch.zeros(2**24)


def chill(phase: str, info: dict[str, int]) -> None:
    if phase == "stop":
        RUBBISH.add_(1.0)


gc.callbacks.append(chill)


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x).square()
