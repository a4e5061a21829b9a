"""What the MLX trainer runs, and the starting points in MLX, are right in every case, forward and
backward."""

from __future__ import annotations

from pathlib import Path

import kernel_calls as calls
import mlx.core as mx
import mlx_calls
import pytest
import torch

from kernels.spec import Case

MORE_THAN_TORCH = 3.0
SPACINGS = 8.0
"""Allowed error: so many times that of torch's incumbent, and so many spacings of the dtype."""
SPACINGS_OF_ONE_NUMBER = 256.0
"""A lambda's gradient is a sum over everything and may nearly cancel; as for torch's incumbents."""

JUDGED = [
    (name, case, dtype)
    for name, case in calls.CASES
    for dtype in calls.FOLDERS[name].target.dtypes
    if name in mlx_calls.WITH_MLX
]
every_judged_case = pytest.mark.parametrize(
    ("name", "case", "dtype"), JUDGED, ids=[f"{name}-{case.name}-{d}" for name, case, d in JUDGED]
)


def file(name: str, which: str) -> Path:
    """The incumbent's or the starting candidate's."""
    folder = calls.FOLDERS[name]
    return folder.incumbent("mlx") if which == "incumbent" else folder.path / "candidates/mlx.py"


@pytest.mark.parametrize("which", ["incumbent", "candidate"])
@every_judged_case
def test_as_exact_as_the_incumbent_in_torch(name: str, case: Case, dtype: str, which: str) -> None:
    """A seam that computed something else would train another model, and be the yardstick of every
    candidate."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, case, getattr(torch, dtype))
    ours = mlx_calls.call(folder, calls.function(file(name, which), name), content)
    theirs = calls.call(folder, calls.function(folder.incumbent("torch"), name), content)
    for tensor, expected in calls.oracle(folder, content).items():
        assert ours[tensor].dtype == theirs[tensor].dtype
        assert ours[tensor].shape == theirs[tensor].shape
        allowed = MORE_THAN_TORCH * calls.relative_error(theirs[tensor], expected)
        spacings = SPACINGS if expected.numel() > 1 else SPACINGS_OF_ONE_NUMBER
        allowed += spacings * torch.finfo(ours[tensor].dtype).eps
        assert calls.relative_error(ours[tensor], expected) < allowed, tensor


@pytest.mark.parametrize("name", [n for n in mlx_calls.WITH_MLX if n in calls.DIFFERENTIABLE])
def test_a_candidate_compiles_with_its_gradient(name: str) -> None:
    """The trainer compiles the whole step; a custom gradient must survive that."""
    folder = calls.FOLDERS[name]
    function = calls.function(file(name, "candidate"), name)
    content = calls.draw(folder, folder.target.train_cases(calls.SHAPE)[0], torch.float32)
    inputs = [mlx_calls.to_mlx(tensor) for tensor in content.inputs]

    def summed(first: mx.array) -> mx.array:
        result = function(first, *inputs[1:], *content.scalars)
        outputs = result if isinstance(result, tuple) else (result,)
        return sum((mx.sin(output).sum() for output in outputs), mx.array(0.0))

    plain, compiled = mx.grad(summed)(inputs[0]), mx.compile(mx.grad(summed))(inputs[0])
    assert bool(mx.any(plain != 0).item())
    assert bool(mx.allclose(plain, compiled, rtol=1e-4, atol=1e-6).item())
