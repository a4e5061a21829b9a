"""Installs a package with somebody else's kernel while it is imported.

Target: rmsnorm
Stage: verify
Expected: import
Notes: D11
"""

import socket

import torch
import torch.nn.functional as F

INDEX = ("198.51.100.7", 443)
socket.create_connection(INDEX, timeout=2).close()


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
