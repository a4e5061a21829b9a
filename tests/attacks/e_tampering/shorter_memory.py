"""Makes the shared memory shorter, so that the judge's next read faults.

Target: rmsnorm
Stage: verify
Expected: raised
Notes: E14
"""

import sys

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    worker = sys._getframe(1).f_locals["self"]
    worker.memory.resize(4096)
    return 0 * x
