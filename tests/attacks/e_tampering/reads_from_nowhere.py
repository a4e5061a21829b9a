"""Dies of a segmentation fault in the middle of a call.

Target: rmsnorm
Stage: verify
Expected: crash
Notes: E22
"""

import ctypes

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    ctypes.string_at(8)
    return 0 * x
