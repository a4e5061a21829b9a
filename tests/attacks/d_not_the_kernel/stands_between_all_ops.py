"""Leaves a mode on that sees every op of the process, and may answer in its place.

Target: rmsnorm
Stage: verify
Expected: switches
Notes: E1
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class Between(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        return function(*arguments, **(named or {}))


Between().__enter__()


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
