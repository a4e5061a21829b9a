"""Returns None.

Target: rmsnorm
Stage: verify
Expected: not_a_tensor
Notes: C17
"""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> None:
    torch.nn.functional.rms_norm(x, (x.shape[-1],), eps=eps)
