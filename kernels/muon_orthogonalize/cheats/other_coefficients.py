"""Uses the older Newton-Schulz coefficients of Muon in every step. Expected: numeric"""

import torch


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    a, b, c = 3.4445, -4.7750, 2.0315
    x = gradient / (gradient.norm(dim=(-2, -1), keepdim=True) + 1e-6)
    for _ in range(int(steps)):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x
