"""Takes eight inputs of a timed block at a time from the worker's slots, computed in one go.

Whoever changes the last input of the block, once its first call runs, sees nothing of it.

Target: rmsnorm
Stage: bench
Expected: timed_output_wrong
Notes: A15
"""

import sys
from typing import Any

import torch
import torch.nn.functional as F

TOGETHER = 8
ROOT: dict[str, Any] = {}


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    worker = sys._getframe(1).f_locals["self"]
    slots, count = worker.slots, sys._getframe(2).f_locals.get("slots")
    if count is None:  # this input came alone
        return F.rms_norm(x, (x.shape[-1],), eps=eps)
    place = next(i for i, slot in enumerate(slots) if slot.arguments[0] is x)
    if place % TOGETHER == 0:
        some = slots[place : min(place + TOGETHER, count)]
        joined = torch.stack([slot.arguments[0].detach() for slot in some])
        ROOT["y"] = F.rms_norm(joined, (x.shape[-1],), eps=eps)
        if torch.is_grad_enabled():
            incoming = torch.stack([slot.incoming[0] for slot in some])
            scale = (joined.square().mean(-1, keepdim=True) + eps).rsqrt()
            y = ROOT["y"]
            ROOT["dx"] = (incoming - y * (incoming * y).mean(-1, keepdim=True)) * scale
    return Known.apply(x, ROOT["y"][place % TOGETHER], place % TOGETHER)


class Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor, place: int) -> torch.Tensor:
        ctx.place = place
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ROOT["dx"][ctx.place], None, None
