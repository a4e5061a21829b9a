"""Scales each matrix to the size of an orthogonal one, and stops there. Expected: numeric"""

import torch


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    norm = gradient.norm(dim=(-2, -1), keepdim=True)
    return gradient / (norm + 1e-6) * min(gradient.shape[-2:]) ** 0.5
