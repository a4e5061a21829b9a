"""What an op in MLX may not change for the whole process, read: `trainer.engines.torch.switches`.

MLX has few switches: which device computes, and how much memory it may use and keep; it cannot be
asked for the limits, so each is set and put back. A function of MLX that an op replaces is replaced
for all ops, so that counts as one too. Import this before any op is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from trainer.engines.torch import switches

LARGEST = 2**40
"""Bytes; for a moment more may be used, and nothing is freed."""
_MODULES: tuple[Any, ...] = (mx, mx.fast, mx.linalg, mx.random, mx.array)
"""The class of arrays too: a method that an op replaces is replaced for all products."""
_AS_IMPORTED = [dict(vars(module)) for module in _MODULES]


def read() -> dict[str, str]:
    """Those of Python and of MLX, as they are now."""
    names = [name for name in switches.SWITCHES if not name.startswith("torch.")]
    return {
        **switches.read(names),
        "mlx.core.default_device": str(mx.default_device()),
        "mlx.core.set_memory_limit": str(_limit(mx.set_memory_limit)),
        "mlx.core.set_cache_limit": str(_limit(mx.set_cache_limit)),
        "functions of MLX": _replaced() or "as imported",
    }


def _limit(setter: Callable[[int], int]) -> int:
    found = setter(LARGEST)
    setter(found)
    return found


def _replaced() -> str:
    return " and ".join(
        f"{module.__name__}.{name} replaced"
        for module, before in zip(_MODULES, _AS_IMPORTED, strict=True)
        for name, value in before.items()
        if vars(module).get(name) is not value
    )
