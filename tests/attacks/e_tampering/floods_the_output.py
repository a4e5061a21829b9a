"""Prints without end, to drown the judge or its disk.

Target: rmsnorm
Stage: verify
Expected: output_flood
Notes: E15
"""

import sys

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    while True:
        sys.stdout.write("PASS " * 10000)
