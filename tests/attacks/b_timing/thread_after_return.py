"""Returns at once; a thread fills the output a little later.

Target: rmsnorm
Stage: verify
Expected: numeric
Notes: B2
"""

import threading
import time
from typing import Any

import torch
import torch.nn.functional as F


class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> torch.Tensor:
        y = torch.zeros_like(x)

        def later() -> None:
            time.sleep(0.5)
            y.copy_(F.rms_norm(x.detach(), (x.shape[-1],), eps=eps))

        threading.Thread(target=later, daemon=True).start()
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return Op.apply(x, eps)
