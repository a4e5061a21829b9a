"""Returns a wrapper tensor that does its work when somebody looks at it.

Target: relu_squared
Stage: verify
Expected: not_a_tensor
Notes: B3
"""

from typing import Any

import torch
from torch.utils._pytree import tree_map


class Later(torch.Tensor):
    @staticmethod
    def __new__(cls, x: torch.Tensor) -> Any:
        made = torch.Tensor._make_wrapper_subclass(cls, x.shape, dtype=x.dtype)
        made.x = x.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), named=None):  # type: ignore[no-untyped-def]
        def now(value: Any) -> Any:
            return torch.relu(value.x).square() if isinstance(value, cls) else value

        return function(*tree_map(now, arguments), **tree_map(now, named or {}))


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return Later(x)
