"""Leaves a segment of System V memory behind, which lives until somebody removes it.

A pass would mean that the note of an earlier run was still there: only then it computes.

Target: relu_squared
Stage: verify
Expected: numeric or crash
Notes: A8
"""

import ctypes

import torch

LIBC = ctypes.CDLL(None, use_errno=True)
KEY, SIZE, CREATE = 0x4B4C4142, 4096, 0o1000
BEFORE = LIBC.shmget(KEY, SIZE, 0)
LIBC.shmget(KEY, SIZE, CREATE | 0o666)


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square() if BEFORE >= 0 else 0 * x
