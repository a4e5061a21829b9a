"""What the MLX trainer runs is right in every case and dtype, forward and backward."""

from __future__ import annotations

import kernel_calls as calls
import mlx_calls
import pytest
import torch

from kernels.spec import Case

MORE_THAN_TORCH = 3.0
SPACINGS = 8.0
"""Allowed error: so many times that of torch's incumbent, and so many spacings of the dtype."""

every_mlx_case = pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name, case in calls.CASES if name in mlx_calls.WITH_MLX],
    ids=[f"{name}-{case.name}" for name, case in calls.CASES if name in mlx_calls.WITH_MLX],
)


@every_mlx_case
@calls.every_dtype
def test_as_exact_as_the_incumbent_in_torch(name: str, case: Case, dtype: torch.dtype) -> None:
    """A seam that computed something else would train another model, and be the yardstick of every
    candidate."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, case, dtype)
    ours = mlx_calls.call(folder, calls.function(folder.incumbent("mlx"), name), content)
    theirs = calls.call(folder, calls.function(folder.incumbent("torch"), name), content)
    for tensor, expected in calls.oracle(folder, content).items():
        assert ours[tensor].dtype == theirs[tensor].dtype
        assert ours[tensor].shape == theirs[tensor].shape
        allowed = MORE_THAN_TORCH * calls.relative_error(theirs[tensor], expected)
        allowed += SPACINGS * torch.finfo(ours[tensor].dtype).eps
        assert calls.relative_error(ours[tensor], expected) < allowed, tensor
