"""What the trainer runs is right, so that the bounds which are derived from its error are sound."""

from __future__ import annotations

import kernel_calls as calls
import pytest
import torch

from kernels.spec import Case

USUAL_SPACINGS = 16.0
"""Allowed error in units of the dtype's spacing."""


def spacings(name: str, case: Case, dtype: torch.dtype) -> float:
    """More where the op itself magnifies rounding errors.

    Muon's first polynomial has a slope of up to 16, and bfloat16 loses small singular values; far
    beyond the soft cap the slope 1 - tanh^2 cancels.
    """
    if name == "residual_rmsnorm":
        return 256.0  # the lambdas' gradients are sums over everything and may nearly cancel
    if name == "muon_orthogonalize":
        return 1024.0 if dtype == torch.float32 else 40.0
    if (name, case.name) == ("softcap_cross_entropy", "saturated"):
        return 2048.0
    return USUAL_SPACINGS


@calls.every_case
@calls.every_dtype
def test_agrees_with_the_oracle(name: str, case: Case, dtype: torch.dtype) -> None:
    """Outputs and gradients within a few spacings; a wrong incumbent would let anything pass."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, case, dtype)
    found = calls.call(folder, calls.function(folder.incumbent("torch"), name), content)
    allowed = spacings(name, case, dtype)
    for tensor, expected in calls.oracle(folder, content).items():
        kind = found[tensor].dtype
        if folder.target.parts and dtype == torch.bfloat16:
            kind = dtype  # a larger op rounds between its parts, whatever it returns
        spacing = torch.finfo(kind).eps
        assert calls.relative_error(found[tensor], expected) < allowed * spacing, tensor


@calls.every_case
def test_has_the_promised_shapes_and_dtypes(name: str, case: Case) -> None:
    """The judge holds candidates to the same form."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, case, torch.bfloat16)
    found = calls.call(folder, calls.function(folder.incumbent("torch"), name), content)
    for output in folder.target.outputs:
        assert found[output.name].shape == case.shape(output.shape)
        same = torch.bfloat16 if output.dtype == "same" else torch.float32
        assert found[output.name].dtype == same
    for one in folder.target.inputs:
        if one.differentiable:
            own = torch.bfloat16 if one.dtype == "same" else torch.float32
            assert found[f"d{one.name}"].dtype == own


@pytest.mark.parametrize("name", ["muon_orthogonalize"])
def test_what_has_no_gradient_works_under_no_grad(name: str) -> None:
    """The optimizer calls it so."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, folder.target.odd_cases[0], torch.float32)
    with torch.no_grad():
        calls.call(folder, calls.function(folder.incumbent("torch"), name), content)
