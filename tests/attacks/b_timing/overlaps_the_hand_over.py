"""A thread on the other core does half of the work while the first results are handed over.

Target: relu_squared
Stage: bench
Expected: clock_mismatch or no_gain
Notes: B2, B15
"""

import os
import threading
from typing import Any

import torch

PENDING: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]] = []
START, DONE = threading.Event(), threading.Event()
copy = torch.Tensor.copy_
PROMISED: set[int] = set()


def elsewhere() -> None:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    while True:
        START.wait()
        for x, y, gradient, dx in PENDING:
            positive = torch.relu(x)
            torch.mul(positive, positive, out=y)
            torch.mul(positive.mul_(2), gradient, out=dx)
        PENDING.clear()
        PROMISED.clear()
        START.clear()
        DONE.set()


threading.Thread(target=elsewhere, daemon=True).start()


class Later(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.x = x.detach().clone()  # what is given is taken back before the hand-over
        ctx.y = torch.empty_like(x)
        return ctx.y.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        dx = torch.empty_like(gradient)
        DONE.clear()
        PENDING.append((ctx.x, ctx.y, gradient.clone(), dx))
        PROMISED.update((ctx.y.data_ptr(), dx.data_ptr()))
        return dx


def copy_when_there(self: torch.Tensor, other: torch.Tensor, *more: object) -> torch.Tensor:
    if PENDING:
        START.set()
    if other.data_ptr() in PROMISED:
        DONE.wait()
    return copy(self, other, *more)


torch.Tensor.copy_ = copy_when_there
CALLS = [0]


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    CALLS[0] += 1
    if torch.is_grad_enabled() and CALLS[0] % 2 == 0:
        return Later.apply(x)
    return torch.relu(x).square()
