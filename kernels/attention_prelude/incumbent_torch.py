"""What upstream's trainer does before attention: three products, then rotary embedding and norm."""

import torch
import torch.nn.functional as F


def attention_prelude(
    x: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [batch, sequence, width], matrices [heads, head_dim, width], tables [sequence,
    head_dim / 2] -> q, k and v [batch, sequence, heads, head_dim]."""
    by_head = query.shape[:2]
    q, k, v = (
        F.linear(x, matrix.flatten(0, 1)).unflatten(-1, by_head) for matrix in (query, key, value)
    )
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    q, k = _apply_rotary(q, cos, sin), _apply_rotary(k, cos, sin)
    size = (q.shape[-1],)
    return F.rms_norm(q, size, eps=eps), F.rms_norm(k, size, eps=eps), v


def _apply_rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    x1, x2 = x[..., :half], x[..., half:]
    y1 = x1 * cos + x2 * sin
    y2 = x1 * (-sin) + x2 * cos
    return torch.cat([y1, y2], dim=-1)
