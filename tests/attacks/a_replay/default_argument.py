"""Hides the cache in a default argument, out of sight of whoever looks for globals.

Target: relu_squared
Stage: verify
Expected: stale_output
Notes: A7
"""

from typing import Any

import torch


def relu_squared(x: torch.Tensor, kept: dict[Any, torch.Tensor] = {}) -> torch.Tensor:  # noqa: B006
    return kept.setdefault((x.shape, x.dtype), torch.relu(x).square().detach()) + 0 * x
