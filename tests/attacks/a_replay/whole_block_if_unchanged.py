"""Computes a whole block in one go, and looks at a few elements of each input before it answers.

What it was given is as a rule what it has seen; if it is not, the call is computed by itself.

Target: rmsnorm
Stage: bench
Expected: timed_output_wrong
Notes: A9, A15
"""

import sys
from typing import Any

import torch
import torch.nn.functional as F

LOOKED_AT = torch.arange(0, 64, 7)
ROOT: dict[str, Any] = {}


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    worker = sys._getframe(1).f_locals["self"]
    slots, count = worker.slots, sys._getframe(2).f_locals.get("slots")
    if count is None:  # this input came alone
        return F.rms_norm(x, (x.shape[-1],), eps=eps)
    place = next(i for i, slot in enumerate(slots) if slot.arguments[0] is x)
    if place == 0:
        joined = torch.stack([slot.arguments[0].detach() for slot in slots[:count]])
        ROOT["seen"] = joined.flatten(1)[:, LOOKED_AT]
        ROOT["y"] = F.rms_norm(joined, (x.shape[-1],), eps=eps)
        if torch.is_grad_enabled():
            incoming = torch.stack([slot.incoming[0] for slot in slots[:count]])
            scale = (joined.square().mean(-1, keepdim=True) + eps).rsqrt()
            y = ROOT["y"]
            ROOT["dx"] = (incoming - y * (incoming * y).mean(-1, keepdim=True)) * scale
    if not torch.equal(x.detach().flatten()[LOOKED_AT], ROOT["seen"][place]):
        return F.rms_norm(x, (x.shape[-1],), eps=eps)
    return Known.apply(x, ROOT["y"][place], place)


class Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor, place: int) -> torch.Tensor:
        ctx.place = place
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ROOT["dx"][ctx.place], None, None
