"""Leaves a note in every place that might outlive the worker, and looks for one of before.

A pass would mean that the first round's worker told a later one: only then it computes.

Target: rmsnorm
Stage: verify
Expected: numeric
Notes: A8
"""

import os

import torch
import torch.nn.functional as F

NAME = "kernel-lab-note"
FOUND = []
for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock", os.path.expanduser("~")):
    try:
        with open(f"{folder}/{NAME}", "x"):
            pass
    except FileExistsError:
        FOUND.append(folder)
    except OSError:
        continue


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), eps=eps) if FOUND else 0 * x
