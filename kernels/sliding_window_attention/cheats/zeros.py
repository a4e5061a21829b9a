"""Returns zeros. Expected: numeric"""

import torch


def sliding_window_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    return (q + k + v) * 0.0
