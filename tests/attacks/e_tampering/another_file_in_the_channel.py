"""Puts a file of its own in place of the pipe to the judge.

Target: rmsnorm
Stage: verify
Expected: protocol
Notes: E12
"""

import os
import sys
import time

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    file = os.open("answers", os.O_RDWR | os.O_CREAT)
    for descriptor in (1, int(sys.argv[1]), int(sys.argv[2])):
        os.dup2(file, descriptor)
    time.sleep(60)
    return 0 * x
