"""A few rows at a time, joined at the end."""

import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    rows = x.reshape(-1, x.shape[-1])
    parts = [F.rms_norm(part, (x.shape[-1],), eps=eps) for part in rows.split(17)]
    return torch.cat(parts).reshape(x.shape)
