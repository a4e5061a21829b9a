"""Calls the op by its own name, to be dispatched to whatever is behind it.

Target: relu_squared
Stage: verify
Expected: raised
Notes: D8
"""

import sys

import torch


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return sys.modules["candidate"].relu_squared(x)
