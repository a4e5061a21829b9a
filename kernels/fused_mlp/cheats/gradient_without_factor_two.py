"""Right forward; backward forgets the 2 of the square's slope. Expected: gradient"""

import torch
import torch.nn.functional as F


def fused_mlp(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    opened = F.relu(F.linear(x, up))
    return F.linear(opened * opened.detach(), down)
