"""What upstream's trainer does before a layer: mix with the embedding, then torch's RMS norm.

The lambdas are float32 and without dims when they multiply, so that the stream keeps its dtype.
"""

import torch
import torch.nn.functional as F


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x, x0 [batch, sequence, width], kept, added [1] float32 -> the mixed stream and its norm."""
    mixed = kept.squeeze(0) * x + added.squeeze(0) * x0
    return mixed, F.rms_norm(mixed, (x.shape[-1],), eps=eps)
