"""The oracle of `rope_qk_norm`: plain torch in the dtype it is given, with autograd's gradients."""

import torch


def rope_qk_norm(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """q, k [batch, sequence, heads, head_dim], cos, sin [sequence, head_dim / 2] -> q, k.

    Channel i is paired with channel i + head_dim / 2, and each pair is turned by its angle. Then
    every head's vector is divided by its root mean square.
    """
    return normalised(rotated(q, cos, sin), eps), normalised(rotated(k, cos, sin), eps)


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [batch, sequence, heads, head_dim], turned by minus the angle, as upstream does."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    return torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)


def normalised(x: torch.Tensor, eps: float) -> torch.Tensor:
    """x divided by the root mean square of its last dim."""
    mean_square = (x * x).mean(dim=-1, keepdim=True)
    return x / torch.sqrt(mean_square + eps)
