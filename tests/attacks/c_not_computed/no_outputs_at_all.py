"""Returns an empty list, which a loop over pairs never looks at.

Target: rope_qk_norm
Stage: verify
Expected: arity
Notes: C17
"""

import torch


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> list[torch.Tensor]:
    return []
