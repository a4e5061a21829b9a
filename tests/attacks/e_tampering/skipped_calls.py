"""Replaces the worker's `run` by one that calls nothing and reports a nanosecond.

Target: relu_squared
Stage: verify
Expected: protocol
Notes: E4
"""

import sys

import torch

sys.modules["__main__"].TorchWorker.run = lambda self, **asked: {
    "type": "Ran",
    "host_ns": 1,
    "device_ns": 0,
}


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square()
