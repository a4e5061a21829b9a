"""Replaces the code object of the worker's method that makes the calls.

Target: relu_squared
Stage: verify
Expected: not_finite or numeric
Notes: E6
"""

import sys
from typing import Any

import torch

Worker = sys.modules["__main__"].TorchWorker


def call(self: Any, slot: Any, differentiate: bool) -> Any:
    return slot.outputs[0], tuple(slot.gradients) if differentiate else ()


Worker.call.__code__ = call.__code__


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return 0 * x
