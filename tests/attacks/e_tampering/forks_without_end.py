"""Starts processes that start processes.

Target: rmsnorm
Stage: verify
Expected: memory or raised
Notes: E22
"""

import subprocess

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    running = [subprocess.Popen(["sleep", "60"]) for _ in range(2000)]
    return 0 * x * len(running)
