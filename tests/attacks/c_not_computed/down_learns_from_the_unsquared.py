"""Right forward; the second matrix learns from the hidden layer before it is squared.

Target: fused_mlp
Stage: verify
Expected: gradient
Notes: C28
"""

import torch
import torch.nn.functional as F


def fused_mlp(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    opened = F.relu(F.linear(x, up))
    y = F.linear(opened.square(), down.detach())
    lesson = F.linear(opened.detach(), down)
    return y + (lesson - lesson.detach())
