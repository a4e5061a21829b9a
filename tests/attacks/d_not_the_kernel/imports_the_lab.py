"""Imports this project to call the reference or the incumbent.

A pass would mean that the checkout can be imported from the sandbox.

Target: rmsnorm
Stage: verify
Expected: import
Notes: D1, A13
"""

import torch

from kernels.rmsnorm.incumbent_torch import rmsnorm as incumbent


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return incumbent(x, eps)
