"""Keeps a plan per shape (the sizes and a function), and no results."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

PLANS: dict[torch.Size, Callable[[torch.Tensor, float], torch.Tensor]] = {}


def plan(shape: torch.Size) -> Callable[[torch.Tensor, float], torch.Tensor]:
    width = shape[-1:]
    return lambda x, eps: F.rms_norm(x, width, eps=eps)


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    if x.shape not in PLANS:
        PLANS[x.shape] = plan(x.shape)
    return PLANS[x.shape](x, eps)
