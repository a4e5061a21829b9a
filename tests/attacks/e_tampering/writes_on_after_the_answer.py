"""A child process writes over the inputs for ever, also while the judge compares.

Target: rmsnorm
Stage: verify
Expected: input_changed
Notes: E11
"""

import os
import sys

import torch
import torch.nn.functional as F

RUNNING: list[int] = []


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    worker = sys._getframe(1).f_locals["self"]
    y = F.rms_norm(x, (x.shape[-1],), eps=eps)
    if not RUNNING:
        RUNNING.append(os.fork())
        while RUNNING[0] == 0:
            worker.memory[256:260] = bytes(4)
    return y
