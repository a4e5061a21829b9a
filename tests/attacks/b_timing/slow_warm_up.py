"""Sleeps through its first calls, so that a harness measures few and long blocks.

Target: relu_squared
Stage: bench
Expected: no_gain
Notes: B12
"""

import time

import torch
import torch.nn.functional as F

CALLS = [0]


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    CALLS[0] += 1
    if CALLS[0] <= 100:
        time.sleep(0.01)
    return F.relu(x).square()
