"""Replaces the worker's `write`, so that it describes a right result and copies none.

Target: rmsnorm
Stage: verify
Expected: not_finite
Notes: E4, E6
"""

import sys
from typing import Any

import torch


def write(self: Any, value: Any, places: list[Any], index: int) -> dict[str, Any]:
    place = places[index]
    return {
        "type": "Tensor",
        "plain": True,
        "dtype": str(place.dtype).removeprefix("torch."),
        "shape": list(place.shape),
        "device": "cpu",
        "layout": "torch.strided",
    }


sys.modules["__main__"].TorchWorker.write = write


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return 0 * x
