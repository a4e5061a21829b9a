"""Uses the activation that everybody else uses. Expected: numeric"""

import torch
import torch.nn.functional as F


def fused_mlp(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    return F.linear(F.gelu(F.linear(x, up)), down)
