"""Free stand-ins for ops in torch, for `trainer.ablation`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kernels.spec import Target

GRADIENT = 1e-4
"""Of a size that gradients have: neither zero nor a denormal number."""


class _Free(torch.autograd.Function):
    """Aliases of tensors that lie ready, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.gradients = gradients
        return tuple(output.view_as(output) for output in outputs)

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> Any:
        ready = [None if g is None else g.view_as(g) for g in ctx.gradients]
        return (None, None, *ready)


def key(target: Target, arguments: tuple[Any, ...]) -> Any:
    """Shapes and dtypes of the inputs."""
    return tuple((a.shape, a.dtype) for a in arguments[: len(target.inputs)])


def learn(target: Target, arguments: tuple[Any, ...], result: Any) -> Callable[..., Any]:
    """A function that returns tensors like those of `result`, and gradients like its inputs.

    Without a gradient each call gets copies: the optimizer changes what it is given in place. They
    are the only work that is left.
    """
    several = isinstance(result, (tuple, list))
    outputs = [output.detach().clone() for output in (result if several else [result])]
    inputs = arguments[: len(target.inputs)]
    gradients = [
        torch.full_like(a, GRADIENT) if one.differentiable else None
        for one, a in zip(target.inputs, inputs, strict=True)
    ]

    def stand_in(*arguments: Any) -> Any:
        if torch.is_grad_enabled() and target.differentiable:
            found = _Free.apply(outputs, gradients, *arguments[: len(inputs)])
        else:
            found = tuple(output.clone() for output in outputs)
        return type(result)(found) if several else found[0]

    return stand_in
