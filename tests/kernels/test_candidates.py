"""The starting candidates are correct, in every case and dtype, and good citizens of autograd.

Whether they are fast is measured (tests/benchmarks, `kernel-lab bench`), never asserted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import kernel_calls as calls
import pytest
import torch

from kernels.spec import Case

MORE_THAN_INCUMBENT = 3.0
SPACINGS = 8.0
"""Allowed error: so many times the incumbent's, and so many spacings of the dtype on top."""
SPACINGS_OF_ONE_NUMBER = 96.0
"""A gradient that is one number is a sum over everything and may nearly cancel; as in verify."""
every_differentiable = pytest.mark.parametrize("name", calls.DIFFERENTIABLE)


def candidate(name: str) -> Callable[..., Any]:
    return calls.function(calls.FOLDERS[name].path / "candidates" / "torch.py", name)


def smallest(name: str) -> Case:
    """The odd case with the fewest elements, whose finite differences are affordable."""
    target = calls.FOLDERS[name].target

    def elements(case: Case) -> int:
        return sum(math.prod(case.shape(one.shape)) for one in target.inputs)

    return min((case for case in target.odd_cases if case.scale == 1.0), key=elements)


@calls.every_case
@calls.every_dtype
def test_as_exact_as_the_incumbent(name: str, case: Case, dtype: torch.dtype) -> None:
    """A starting point that verify rejects would start everybody in the wrong place."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, case, dtype)
    found = calls.call(folder, candidate(name), content)
    theirs = calls.call(folder, calls.function(folder.incumbent("torch"), name), content)
    for tensor, expected in calls.oracle(folder, content).items():
        assert found[tensor].dtype == theirs[tensor].dtype
        assert found[tensor].shape == theirs[tensor].shape
        spacing = torch.finfo(found[tensor].dtype).eps
        allowed = MORE_THAN_INCUMBENT * calls.relative_error(theirs[tensor], expected)
        allowed += spacing * (SPACINGS if expected.numel() > 1 else SPACINGS_OF_ONE_NUMBER)
        assert calls.relative_error(found[tensor], expected) < allowed, tensor


@every_differentiable
@pytest.mark.parametrize("layout", ["contiguous", "strided"])
def test_gradients_are_the_slopes_of_the_outputs(name: str, layout: str) -> None:
    """By finite differences in float64, independent of the oracle."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, smallest(name), torch.float64)
    inputs = [tensor.detach() for tensor in content.inputs]
    if layout == "strided":
        inputs = [calls.with_gaps(t) if t.is_floating_point() else t for t in inputs]
    for one, tensor in zip(folder.target.inputs, inputs, strict=True):
        tensor.requires_grad_(one.differentiable)
    assert torch.autograd.gradcheck(candidate(name), (*inputs, *content.scalars))


@calls.every_case
def test_neither_inputs_nor_incoming_gradients_change(name: str, case: Case) -> None:
    """Whoever reads them next would get something else."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, case, torch.float32)
    before = [tensor.clone() for tensor in (*content.inputs, *content.incoming)]
    calls.call(folder, candidate(name), content)
    for tensor, kept in zip((*content.inputs, *content.incoming), before, strict=True):
        assert torch.equal(tensor, kept)


@calls.every_case
def test_evaluation_gives_what_training_gives(name: str, case: Case) -> None:
    """val_bpb is computed under no_grad; it must be the loss that was trained."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, case, torch.float32)
    trained = calls.call(folder, candidate(name), content)
    with torch.no_grad():
        result = candidate(name)(*content.inputs, *content.scalars)
    outputs = result if isinstance(result, tuple) else (result,)
    for output, tensor in zip(folder.target.outputs, outputs, strict=True):
        assert torch.equal(tensor, trained[output.name])
        assert not tensor.requires_grad


@calls.every_target
def test_calls_do_not_share_memory(folder) -> None:  # type: ignore[no-untyped-def]
    """A result that a later call overwrites is wrong as soon as two layers use the op."""
    case, implementation = folder.target.odd_cases[0], candidate(folder.id)
    contents = [calls.draw(folder, case, torch.float32, seed) for seed in (1, 2)]
    first = calls.call(folder, implementation, contents[0])
    kept = {name: tensor.clone() for name, tensor in first.items()}
    calls.call(folder, implementation, contents[1])
    assert all(torch.equal(first[name], kept[name]) for name in kept)


@every_differentiable
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_retained_graph_can_be_used_twice(name: str, dtype: torch.dtype) -> None:
    """As with the incumbent: the second backward is as right as the first."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, folder.target.train_cases(calls.SHAPE)[0], dtype)
    inputs = [tensor.detach() for tensor in content.inputs]
    leaves = [
        tensor.requires_grad_()
        for one, tensor in zip(folder.target.inputs, inputs, strict=True)
        if one.differentiable
    ]
    outputs = candidate(name)(*inputs, *content.scalars)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    first = torch.autograd.grad(outputs, leaves, content.incoming, retain_graph=True)
    kept = [gradient.clone() for gradient in first]
    second = torch.autograd.grad(outputs, leaves, content.incoming)
    for a, b, c in zip(first, second, kept, strict=True):
        assert torch.equal(a, c)
        assert calls.relative_error(b, c.double()) < 4 * torch.finfo(dtype).eps


@every_differentiable
def test_takes_a_gradient_that_is_one_number_in_many_places(name: str) -> None:
    """`loss.sum().backward()` sends an expanded tensor without memory of its own."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, smallest(name), torch.float32)
    single = tuple(gradient.new_ones(()).expand_as(gradient) for gradient in content.incoming)
    spread = tuple(gradient.contiguous() for gradient in single)
    found, right = (
        calls.call(folder, candidate(name), replace(content, incoming=incoming))
        for incoming in (single, spread)
    )
    assert all(torch.equal(found[tensor], right[tensor]) for tensor in right)


def test_softcap_cross_entropy_in_many_chunks_is_one_and_the_same() -> None:
    """Rows are cut into chunks; where the cut falls must not matter."""
    folder = calls.FOLDERS["softcap_cross_entropy"]
    module = calls.load_module(folder.path / "candidates" / "torch.py")
    case = next(c for c in folder.target.odd_cases if c.name == "odd_sizes")
    content = calls.draw(folder, case, torch.float32)
    whole = calls.call(folder, module.softcap_cross_entropy, content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_ELEMENTS", 2000)
        parts = calls.call(folder, module.softcap_cross_entropy, content)
        patch.setattr(module, "CHUNK_ELEMENTS", 1)
        rows = calls.call(folder, module.softcap_cross_entropy, content)
    for tensor, expected in whole.items():
        assert calls.relative_error(parts[tensor], expected.double()) < 1e-6
        assert calls.relative_error(rows[tensor], expected.double()) < 1e-6


@pytest.mark.parametrize("softcap", [0.0, -1.0, 36.0])
def test_softcap_cross_entropy_refuses_what_it_cannot_represent(softcap: float) -> None:
    """Beyond, a probability would round to zero and the loss be infinite."""
    with pytest.raises(ValueError, match="softcap must lie between"):
        candidate("softcap_cross_entropy")(torch.randn(2, 3), torch.tensor([0, 1]), softcap)
