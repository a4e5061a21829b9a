"""Makes namespaces of its own, where it would be root and could mount over what it likes.

A pass would mean that it became root there: only then it computes.

Target: rmsnorm
Stage: verify
Expected: numeric or crash
Notes: E20
"""

import ctypes

import torch
import torch.nn.functional as F

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
ROOT = ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), eps=eps) if ROOT else 0 * x
