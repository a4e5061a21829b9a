"""Hangs, so that whatever was scored before might stand.

Target: rmsnorm
Stage: verify
Expected: timeout
Notes: E22
"""

import time

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    while True:
        time.sleep(1)
