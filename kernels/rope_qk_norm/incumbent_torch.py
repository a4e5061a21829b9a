"""What upstream's trainer does to queries and keys: rotary embedding, then torch's RMS norm."""

import torch
import torch.nn.functional as F


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """q, k [batch, sequence, heads, head_dim], cos, sin [sequence, head_dim / 2] -> q, k."""
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    q, k = _apply_rotary(q, cos, sin), _apply_rotary(k, cos, sin)
    return F.rms_norm(q, (q.shape[-1],), eps=eps), F.rms_norm(k, (k.shape[-1],), eps=eps)


def _apply_rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    x1, x2 = x[..., :half], x[..., half:]
    y1 = x1 * cos + x2 * sin
    y2 = x1 * (-sin) + x2 * cos
    return torch.cat([y1, y2], dim=-1)
