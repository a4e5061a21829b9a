"""Free stand-ins for ops in MLX, for `trainer.ablation`.

MLX computes only what somebody waits for, so the arrays that lie ready are made to depend on the
inputs, and their gradients on those that come in: what leads to the op is still computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from kernels.spec import Target
from trainer.engines.mlx.marks import several

GRADIENT = 1e-4
"""Of a size that gradients have: neither zero nor a denormal number."""


def key(target: Target, arguments: tuple[Any, ...]) -> Any:
    """Shapes and dtypes of the inputs."""
    return tuple((a.shape, str(a.dtype)) for a in arguments[: len(target.inputs)])


def learn(target: Target, arguments: tuple[Any, ...], result: Any) -> Callable[..., Any]:
    """A function that returns arrays like those of `result`, and gradients like its inputs."""
    inputs = arguments[: len(target.inputs)]
    outputs = [_copy(output) for output in several(result)]
    gradients = [mx.full(a.shape, GRADIENT).astype(a.dtype) for a in inputs]
    mx.eval(outputs, gradients)

    @mx.custom_function
    def free(*arrays: mx.array) -> Sequence[mx.array]:
        return tuple(several(mx.depends(outputs, list(arrays))))

    @free.vjp
    def backward(primals: Any, cotangents: Any, results: Any) -> Sequence[mx.array]:
        return tuple(several(mx.depends(gradients, several(cotangents))))

    def stand_in(*arguments: Any) -> Any:
        found = several(free(*arguments[: len(inputs)]))
        return type(result)(found) if isinstance(result, (tuple, list)) else found[0]

    return stand_in


def _copy(array: mx.array) -> mx.array:
    """The same values, without the graph that made them."""
    exact = array.astype(mx.float32)
    mx.eval(exact)
    return mx.array(memoryview(exact)).astype(array.dtype)  # type: ignore[arg-type]
