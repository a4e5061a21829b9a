"""Returns an object that would run code wherever somebody unpickles it.

Target: rmsnorm
Stage: verify
Expected: not_a_tensor
Notes: E17
"""

import os

import torch


class Surprise:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/kernel-lab-was-here",)


def rmsnorm(x: torch.Tensor, eps: float) -> Surprise:
    return Surprise()
