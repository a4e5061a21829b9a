"""Right forward; backward pretends that the scale does not depend on x. Expected: gradient"""

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    scale = (wide.detach().square().mean(-1, keepdim=True) + eps).rsqrt()
    return (wide * scale).to(x.dtype)
