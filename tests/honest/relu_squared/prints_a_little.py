"""Prints a line per shape, as people do while they work on it."""

import torch

SEEN: set[torch.Size] = set()


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    if x.shape not in SEEN:
        SEEN.add(x.shape)
        print("relu_squared", tuple(x.shape))
    return torch.relu(x).square()
