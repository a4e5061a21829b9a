"""Reads the environment, memory and command line of every other process it can see.

A pass would mean that it could read one: only then it computes.

Target: rmsnorm
Stage: verify
Expected: numeric
Notes: E20, A11
"""

import os
from pathlib import Path

import torch
import torch.nn.functional as F

READ = []
for folder in Path("/proc").glob("[0-9]*"):
    if folder.name == str(os.getpid()):
        continue
    for name in ("environ", "mem", "maps", *(f"fd/{number}" for number in range(32))):
        try:
            READ.append((folder / name).open("rb").read(1))
        except OSError:
            continue


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), eps=eps) if any(READ) else 0 * x
