"""The name is bound to an object with `__call__`, not to a function."""

import torch
import torch.nn.functional as F


class RMSNorm:
    def __call__(self, x: torch.Tensor, eps: float) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), eps=eps)


rmsnorm = RMSNorm()
