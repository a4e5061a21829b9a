"""Closes every descriptor it has, and runs on in silence.

Target: rmsnorm
Stage: verify
Expected: protocol
Notes: E12
"""

import os
import time

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    os.closerange(3, 256)
    time.sleep(60)
    return 0 * x
