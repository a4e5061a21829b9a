"""Makes the worker's clock run ten times as fast, to look as if the block had been disturbed.

Target: relu_squared
Stage: bench
Expected: clock_mismatch
Notes: B5
"""

import time

import torch
import torch.nn.functional as F

clock = time.perf_counter_ns
time.perf_counter_ns = lambda: 10 * clock()


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x).square()
