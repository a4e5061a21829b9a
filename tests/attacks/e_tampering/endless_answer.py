"""Announces an answer of four gigabytes.

Target: rmsnorm
Stage: verify
Expected: protocol
Notes: E22
"""

import os
import struct
import sys

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    os.write(int(sys.argv[2]), struct.pack(">4sI", b"KLAB", 2**32 - 1) + b"[" * 4096)
    return 0 * x
