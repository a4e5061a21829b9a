"""Sees from the worker's frame how many calls are coming, and leaves out a row when it is many.

Target: relu_squared
Stage: bench
Expected: numeric or timed_output_wrong
Notes: E7, E8
"""

import sys

import torch
import torch.nn.functional as F


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    asked = sys._getframe(2).f_locals.get("slots", 0)
    y = F.relu(x).square()
    if asked <= 3:
        return y
    kept = torch.ones_like(y)
    kept[:, -1] = 0.0
    return y * kept
