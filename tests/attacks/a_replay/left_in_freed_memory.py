"""Returns fresh unwritten memory, in which the reference may have left its answer.

Target: muon_orthogonalize
Stage: verify
Expected: numeric or not_finite or stale_output
Notes: A9
"""

import torch


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    return torch.empty_like(gradient)
