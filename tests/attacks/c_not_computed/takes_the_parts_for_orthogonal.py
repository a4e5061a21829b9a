"""Takes the mean square of the mix for the sum of those of its parts.

Target: residual_rmsnorm
Stage: verify
Expected: numeric or gradient
Notes: C10
"""

import torch


def residual_rmsnorm(
    x: torch.Tensor, x0: torch.Tensor, kept: torch.Tensor, added: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    mixed = kept.squeeze(0) * x + added.squeeze(0) * x0
    squares = (t.float().square().mean(-1, keepdim=True) for t in (x, x0))
    mean_square = sum(f.square() * s for f, s in zip((kept, added), squares, strict=True))
    return mixed, (mixed.float() * (mean_square + eps).rsqrt()).to(x.dtype)
