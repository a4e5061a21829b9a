"""What upstream's trainer does: torch's own RMS norm without a weight."""

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    """x [batch, sequence, width] -> the same shape."""
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
