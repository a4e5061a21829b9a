"""Writes files without end (sparse ones), so that the other arm finds the disk full.

Target: rmsnorm
Stage: ab
Expected: arm_failed
Notes: E22
"""

import sys

import torch
import torch.nn.functional as F

WRITTEN: list[bool] = []


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    if "trainer.loop" in sys.modules and not WRITTEN:
        WRITTEN.append(True)
        for number in range(3):
            with open(f"rubbish{number}", "wb") as file:
                file.truncate(2**33 - 1)
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
