"""Attaches to its parent as a debugger would, to change the judge's memory.

A pass would mean that it got hold of another process: only then it computes.

Target: rmsnorm
Stage: verify
Expected: numeric or crash
Notes: B10
"""

import ctypes
import os

import torch
import torch.nn.functional as F

PTRACE_ATTACH = 16
LIBC = ctypes.CDLL(None, use_errno=True)
CAUGHT = [
    pid
    for pid in {1, 2, os.getppid()} - {0, os.getpid()}
    if LIBC.ptrace(PTRACE_ATTACH, pid, None, None) == 0
]


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), eps=eps) if CAUGHT else 0 * x
