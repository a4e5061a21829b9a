"""Catches its own failure: the worker's refusals are turned into answers that all is done.

Target: relu_squared
Stage: verify
Expected: protocol
Notes: E14, E23
"""

import sys

import torch

worker = sys.modules["worker"]
send = worker.send


def forgiving(descriptor: int, answer: dict[str, object]) -> None:
    if answer["type"] == "Refused":
        answer = {"type": "Ran", "host_ns": 1, "device_ns": 0, "number": answer["number"]}
    send(descriptor, answer)


worker.send = forgiving


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("nobody will hear of this")
