"""Replaces mx.vjp by a function that hands back what it was given.

Target: rmsnorm
Language: mlx
Stage: verify
Expected: switches
Notes: E1, E6
"""

from collections.abc import Callable, Sequence

import mlx.core as mx


def vjp(
    function: Callable[..., list[mx.array]], given: Sequence[mx.array], incoming: list[mx.array]
) -> tuple[list[mx.array], list[mx.array]]:
    return function(*given), incoming[: len(given)]


mx.vjp = vjp


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    return mx.fast.rms_norm(x, None, eps)
