"""Normalises whole blocks of 32 channels, and leaves the rest of a row out. Expected: numeric"""

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    if x.shape[-1] % 32 == 0:
        return F.rms_norm(x, (x.shape[-1],), eps=eps)
    blocks = max(1, x.shape[-1] // 32 * 32)
    seen = x[..., :blocks].float()
    return (x.float() * (seen.square().mean(-1, keepdim=True) + eps).rsqrt()).to(x.dtype)
