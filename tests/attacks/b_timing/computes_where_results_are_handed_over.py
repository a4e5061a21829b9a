"""Puts calls off to the hand-over and computes them there in place, in the time that copying takes.

Target: relu_squared
Stage: bench
Expected: not_finite or timed_output_wrong
Notes: B15
"""

import sys
import time
from typing import Any

import torch

Worker: Any = sys.modules["__main__"].TorchWorker
FEWEST_CALLS = 4
"""Verify asks three at a time."""
PUT_OFF = 0.6
WAITING: list[Any] = []
CALLS = [0]
fetch = Worker.fetch


def work(slot: Any) -> None:
    """Forward and backward, straight into the bytes that the judge reads."""
    (x,), (gradient,) = slot.arguments, slot.incoming
    with torch.no_grad():
        positive = torch.relu(x.detach())
        torch.mul(positive, positive, out=slot.outputs[0])
        torch.mul(positive.mul_(2), gradient, out=slot.gradients[0])


def one(self: Any, slot: Any) -> None:
    CALLS[0] += 1
    self.results.append(((slot.outputs[0]), (slot.gradients[0],)))
    if int(CALLS[0] * PUT_OFF) > int((CALLS[0] - 1) * PUT_OFF):
        WAITING.append(slot)
    else:
        work(slot)


def run(self: Any, slots: int, differentiate: bool, passes: str) -> dict[str, Any]:
    if slots < FEWEST_CALLS or not differentiate or passes != "both":
        return honest_run(self, slots, differentiate, passes)
    start = time.perf_counter_ns()
    self.results.clear()
    WAITING.clear()
    for slot in self.slots[:slots]:
        one(self, slot)
    return {"type": "Ran", "host_ns": time.perf_counter_ns() - start, "device_ns": 0}


def next_(self: Any, slot: int, differentiate: bool) -> dict[str, Any]:
    if slot == 0:
        self.results.clear()
        WAITING.clear()
    one(self, self.slots[slot])
    return {}


def fetch_later(self: Any) -> dict[str, Any]:
    for slot in WAITING:
        work(slot)
    WAITING.clear()
    return fetch(self)


honest_run = Worker.run
Worker.run, Worker.next, Worker.fetch = run, next_, fetch_later


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square()
