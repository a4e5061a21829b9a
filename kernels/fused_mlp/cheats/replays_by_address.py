"""Remembers the answer by the address and the shape of x. Expected: stale_output"""

from typing import Any

import torch
import torch.nn.functional as F

ANSWERS: dict[Any, torch.Tensor] = {}


def fused_mlp(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    y = F.linear(F.relu(F.linear(x, up)).square(), down)
    answer = ANSWERS.setdefault((x.data_ptr(), x.shape, x.dtype), y.detach().clone())
    y.detach().copy_(answer)  # to the bit, and with a gradient, or those would give it away
    return y
