"""A mark on arrays: somebody is told when the backward pass comes to them.

    x, y = marked([x, y], lambda gradients: ...)

The arrays go through an identity whose gradient is a Python function, which MLX calls while it
builds the backward pass, from the last operation to the first. It hands the gradients on as they
are, evaluated, so whatever brought them is done by then. Where nothing is differentiated a mark
does nothing. Not for compiled functions, in which nothing can be evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

Told = Callable[[list[mx.array]], None]
"""Gets the gradients, one for each array."""


def marked(arrays: Sequence[mx.array], told: Told) -> list[mx.array]:
    """Aliases of the arrays: what flows back through them alone is told."""

    @mx.custom_function
    def same(*arrays: mx.array) -> Sequence[mx.array]:
        return arrays

    @same.vjp
    def backward(primals: Any, cotangents: Any, outputs: Any) -> Sequence[mx.array]:
        gradients = several(cotangents)
        mx.eval(gradients)
        told(gradients)
        return tuple(gradients)

    return several(same(*arrays)) if arrays else []


def several(value: Any) -> list[mx.array]:
    """MLX hands a single array over bare."""
    return list(value) if isinstance(value, (tuple, list)) else [value]
