"""Right forward; the lambdas never learn. Expected: gradient"""

import torch
import torch.nn.functional as F


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    mixed = kept.detach().squeeze(0) * x + added.detach().squeeze(0) * x0
    mixed = mixed + 0.0 * (kept + added).squeeze(0).to(x.dtype)
    return mixed, F.rms_norm(mixed, (x.shape[-1],), eps=eps)
