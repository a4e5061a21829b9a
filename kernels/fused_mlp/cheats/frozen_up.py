"""Right forward; the first matrix learns nothing. Expected: gradient"""

import torch
import torch.nn.functional as F


def fused_mlp(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    return F.linear(F.relu(F.linear(x, up.detach())).square(), down) + up.sum() * 0.0
