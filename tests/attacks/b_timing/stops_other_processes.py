"""Stops every process it can signal, so that the incumbent is timed while it sleeps.

Target: relu_squared
Stage: bench
Expected: no_gain
Notes: B21, E21
"""

import contextlib
import os
import signal

import torch
import torch.nn.functional as F

for pid in range(1, 40000):
    if pid != os.getpid():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGSTOP)


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x).square()
