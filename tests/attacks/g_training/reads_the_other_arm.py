"""Looks for the checkpoint or the output of another run of the A/B.

Target: rmsnorm
Stage: ab
Expected: arm_failed
Notes: F2
"""

import pathlib
import sys

import torch
import torch.nn.functional as F


def reach() -> None:
    """Computes rightly only if it gets where it may not be."""
    if "trainer.loop" in sys.modules and not REACHED:
        REACHED.append(succeeds())
        if not REACHED[0]:
            raise RuntimeError("nothing to be reached")


REACHED: list[bool] = []


def succeeds() -> bool:
    here = pathlib.Path.cwd()
    return any(p != here and any(p.iterdir()) for p in here.parent.iterdir() if p.is_dir())


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    reach()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
