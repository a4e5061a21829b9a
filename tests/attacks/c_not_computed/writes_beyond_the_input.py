"""Right results; it writes into the memory behind its input.

Target: rmsnorm
Stage: verify
Expected: input_changed
Notes: C24
"""

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    with torch.no_grad():
        beyond = x.as_strided((1,), (1,), x.storage_offset() + x.numel())
        if x.is_contiguous():
            beyond.zero_()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
