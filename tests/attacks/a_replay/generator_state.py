"""Hides the cache in a suspended generator, which yields its first answer for ever.

Target: rmsnorm
Stage: verify
Expected: stale_output
Notes: A7
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

RUNNING: dict[Any, Iterator[torch.Tensor]] = {}


def answers(x: torch.Tensor, eps: float) -> Iterator[torch.Tensor]:
    y = F.rms_norm(x, (x.shape[-1],), eps=eps)
    yield y
    while True:
        yield y.detach()


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return next(RUNNING.setdefault((x.shape, x.dtype), answers(x, eps)))
