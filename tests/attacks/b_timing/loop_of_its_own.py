"""Puts a loop of its own in place of the worker's: the same operators, but no call and no autograd.

Target: relu_squared
Stage: bench
Expected: clock_mismatch or no_gain
Notes: B15, E1
"""

import sys
import time
from typing import Any

import torch

Worker: Any = sys.modules["__main__"].TorchWorker


def work(self: Any, slot: Any) -> None:
    x, gradient = slot.arguments[0].detach(), slot.incoming[0]
    with torch.no_grad():
        positive = torch.relu(x)
        y = positive.square()
        dx = positive.mul_(2).mul_(gradient)
    self.results.append((y, (dx,)))


def run(self: Any, slots: int, differentiate: bool, passes: str) -> dict[str, Any]:
    if not differentiate or passes != "both":
        return honest(self, slots, differentiate, passes)
    start = time.perf_counter_ns()
    self.results.clear()
    for slot in self.slots[:slots]:
        work(self, slot)
    return {"type": "Ran", "host_ns": time.perf_counter_ns() - start, "device_ns": 0}


def next_(self: Any, slot: int, differentiate: bool) -> dict[str, Any]:
    if slot == 0:
        self.results.clear()
    work(self, self.slots[slot])
    return {}


honest = Worker.run
Worker.run, Worker.next = run, next_


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square()
