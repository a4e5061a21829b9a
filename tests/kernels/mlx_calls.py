"""How the tests of kernels/ call an implementation in MLX with contents drawn for torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import torch
from kernel_calls import FOLDERS, Content

from kernels.spec import TargetFolder

WITH_MLX = [name for name, folder in FOLDERS.items() if folder.incumbent("mlx").is_file()]


def to_mlx(tensor: torch.Tensor) -> mx.array:
    """The same values and dtype; bfloat16 crosses as float32, which numpy has."""
    if tensor.dtype == torch.bfloat16:
        return mx.array(tensor.detach().float().numpy()).astype(mx.bfloat16)
    return mx.array(tensor.detach().numpy())


def to_torch(array: mx.array) -> torch.Tensor:
    """And back."""
    if array.dtype == mx.bfloat16:
        return torch.from_numpy(np.array(array.astype(mx.float32))).bfloat16()
    return torch.from_numpy(np.array(array))


def call(
    folder: TargetFolder, implementation: Callable[..., Any], content: Content
) -> dict[str, torch.Tensor]:
    """Outputs by name and gradients as `d` and the input's name, as `kernel_calls.call`."""
    target = folder.target
    inputs = [to_mlx(tensor) for tensor in content.inputs]
    places = [i for i, one in enumerate(target.inputs) if one.differentiable]

    def of_leaves(*leaves: mx.array) -> list[mx.array]:
        given = list(inputs)
        for place, leaf in zip(places, leaves, strict=True):
            given[place] = leaf
        result = implementation(*given, *content.scalars)
        return list(result) if isinstance(result, (tuple, list)) else [result]

    leaves = [inputs[place] for place in places]
    if leaves:
        incoming = [to_mlx(gradient) for gradient in content.incoming]
        outputs, gradients = mx.vjp(of_leaves, leaves, incoming)
    else:
        outputs, gradients = of_leaves(), []
    names = [output.name for output in target.outputs]
    names += [f"d{target.inputs[place].name}" for place in places]
    return {name: to_torch(a) for name, a in zip(names, [*outputs, *gradients], strict=True)}
