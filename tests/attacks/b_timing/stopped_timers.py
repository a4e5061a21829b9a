"""Replaces every clock of the process by one that stands still.

Target: relu_squared
Stage: bench
Expected: clock_mismatch
Notes: B5
"""

import time

import torch
import torch.nn.functional as F

for name in ("perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "time", "time_ns"):
    setattr(time, name, lambda: 0)


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x).square()
