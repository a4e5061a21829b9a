"""Returns the exact polar factor, which is what the op only approximates.

Target: muon_orthogonalize
Stage: verify
Expected: numeric
Notes: C30
"""

import torch


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    left, _, right = torch.linalg.svd(gradient.float(), full_matrices=False)
    return (left @ right).to(gradient.dtype)
