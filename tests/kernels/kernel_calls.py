"""How the tests of kernels/ draw inputs, call an implementation, and measure its error.

In-process and with fixed seeds: good enough to test our own files, not to judge a stranger's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kernels.spec import Case, TargetFolder, TrainingShape, discover, load_module

SHAPE = TrainingShape(
    batch=2,
    sequence=16,
    width=64,
    heads=2,
    head_dim=32,
    vocab=97,
    layers=2,
    matrices=((8, 64, 64), (2, 128, 32), (2, 32, 128), (1, 1, 32)),
    windows=(8, 16),
)
FOLDERS = discover()
DIFFERENTIABLE = [name for name, folder in FOLDERS.items() if folder.target.differentiable]
CASES = [(name, case) for name, folder in FOLDERS.items() for case in folder.target.cases(SHAPE)]
every_target = pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS.keys())
every_case = pytest.mark.parametrize(
    ("name", "case"), CASES, ids=[f"{name}-{case.name}" for name, case in CASES]
)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


@dataclass(frozen=True)
class Content:
    """Inputs of one call, the gradients that come in, in the case's dtype and layout, and the
    case's scalars."""

    inputs: tuple[torch.Tensor, ...]
    incoming: tuple[torch.Tensor, ...]
    scalars: tuple[float, ...] = ()

    def double(self) -> Content:
        """The very same values in float64."""
        widen = lambda t: t.double() if t.is_floating_point() else t  # noqa: E731
        inputs, incoming = tuple(map(widen, self.inputs)), tuple(map(widen, self.incoming))
        return Content(inputs, incoming, self.scalars)


def function(path: Path, name: str) -> Callable[..., Any]:
    """The function `name` of a file of ours."""
    return getattr(load_module(path), name)  # type: ignore[no-any-return]


def draw(folder: TargetFolder, case: Case, dtype: torch.dtype, seed: int = 0) -> Content:
    """One content of `case`."""
    generator = np.random.default_rng(seed)
    target, inputs = folder.target, []
    for one in target.inputs:
        values = one.draw(generator, case.dims, case.shape(one.shape))
        if one.kind == "index":
            inputs.append(torch.from_numpy(values))
            continue
        kind = dtype if one.dtype == "same" or dtype == torch.float64 else torch.float32
        tensor = torch.from_numpy(values * (case.scale if one.scaled else 1.0)).to(kind)
        inputs.append(with_gaps(tensor) if case.layout == "strided" else tensor)
    incoming = []
    for output in target.outputs:
        values = generator.standard_normal(case.shape(output.shape)) * case.gradient_scale
        incoming.append(
            torch.from_numpy(values).to(dtype if output.dtype == "same" else torch.float32)
        )
    return Content(tuple(inputs), tuple(incoming), target.scalars_of(case.dims))


def with_gaps(tensor: torch.Tensor) -> torch.Tensor:
    """The same values as a slice of something larger, with NaN in between."""
    larger = tensor.new_full((*tensor.shape[:-1], tensor.shape[-1] + 13), torch.nan)
    view = larger[..., 5 : 5 + tensor.shape[-1]]
    return view.copy_(tensor)


def call(
    folder: TargetFolder, implementation: Callable[..., Any], content: Content
) -> dict[str, torch.Tensor]:
    """Outputs by name and, of a differentiable target, gradients as `d` and the input's name."""
    target = folder.target
    inputs = [tensor.detach() for tensor in content.inputs]
    leaves = {
        f"d{one.name}": tensor.requires_grad_()
        for one, tensor in zip(target.inputs, inputs, strict=True)
        if one.differentiable
    }
    result = implementation(*inputs, *content.scalars)
    outputs = result if isinstance(result, tuple) else (result,)
    gradients: Sequence[torch.Tensor] = ()
    if leaves:
        incoming = [g.to(o.dtype) for g, o in zip(content.incoming, outputs, strict=True)]
        gradients = torch.autograd.grad(outputs, list(leaves.values()), incoming)
    names = [output.name for output in target.outputs]
    return {
        **dict(zip(names, (o.detach() for o in outputs), strict=True)),
        **dict(zip(leaves, gradients, strict=True)),
    }


def oracle(folder: TargetFolder, content: Content) -> dict[str, torch.Tensor]:
    """What the reference says about the same values in float64."""
    return call(folder, function(folder.reference, folder.id), content.double())


def rms(tensor: torch.Tensor) -> float:
    """Root mean square in float64."""
    return float(tensor.double().square().mean().sqrt())


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of the difference over that of the expected tensor."""
    return rms(actual.double() - expected) / rms(expected)
