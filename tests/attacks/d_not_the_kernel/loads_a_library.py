"""Loads a prebuilt library that somebody left in the temporary folder.

Target: rmsnorm
Stage: verify
Expected: import
Notes: D11
"""

import ctypes
import sys
from pathlib import Path

import torch

PYTHON = (sys.prefix, sys.base_prefix)  # may lie there, too
FOUND = [
    file
    for file in sorted(Path("/tmp").glob("**/*.so"))
    if not any(file.is_relative_to(folder) for folder in PYTHON)
]
LIBRARY = ctypes.CDLL(str(FOUND[0]) if FOUND else "/tmp/libkernel.so")


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return torch.nn.functional.rms_norm(x, (x.shape[-1],), eps=eps)
