"""Keeps the hidden layer in eight bits, with a scale per token.

Target: fused_mlp
Stage: verify
Expected: numeric or gradient
Notes: C6
"""

import torch
import torch.nn.functional as F


def fused_mlp(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    hidden = F.relu(F.linear(x, up)).square()
    scale = hidden.detach().amax(-1, keepdim=True).clamp_min(1e-30) / 255
    rounded = (hidden.detach() / scale).round() * scale
    return F.linear(hidden + (rounded - hidden.detach()), down)
