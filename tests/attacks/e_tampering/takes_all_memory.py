"""Allocates without end, until the machine or the judge gives way.

Target: rmsnorm
Stage: verify
Expected: memory
Notes: E22
"""

import torch

HELD: list[torch.Tensor] = []


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    while True:
        HELD.append(torch.ones(2**26))
