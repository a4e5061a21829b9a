"""Searches the memory it shares with the judge for anything that was not given as an input.

Target: rmsnorm
Stage: verify
Expected: not_finite
Notes: A11
"""

import sys

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    worker = sys._getframe(1).f_locals["self"]
    place = worker.slots[0].outputs[0]
    return place.clone() + 0 * x
