"""Every cheat really cheats, in the way that its docstring promises.

A cheat that turned out to be correct would make verify look broken; one that fails by accident, for
another reason than it says, would prove nothing about the check it is meant for. What verify says
about them is tested with the harness.
"""

from __future__ import annotations

import re
from pathlib import Path

import kernel_calls as calls
import pytest
import torch

from kernels.spec import TargetFolder

CHEATS = [
    (folder, path, re.findall(r"Expected: (\w+)", path.read_text())[0])
    for folder in calls.FOLDERS.values()
    for path in folder.cheats
]
FAR_OFF = 20.0
"""So many times the incumbent's own error, and so many float32 spacings, a wrong result is off."""


def cheats(*reasons: str) -> pytest.MarkDecorator:
    """Those that promise one of these reasons."""
    chosen = [(folder, path) for folder, path, reason in CHEATS if reason in reasons]
    ids = [f"{folder.id}-{path.stem}" for folder, path in chosen]
    return pytest.mark.parametrize(("folder", "path"), chosen, ids=ids)


def excess(found: torch.Tensor, theirs: torch.Tensor, expected: torch.Tensor) -> float:
    """Error of `found` in units of the incumbent's, counting no error below a few spacings."""
    least = calls.relative_error(theirs, expected) + torch.finfo(torch.float32).eps
    return calls.relative_error(found, expected) / least


def outputs_of(folder: TargetFolder, path: Path, content: calls.Content) -> list[object]:
    """What the cheat returns, without any check."""
    result = calls.function(path, folder.id)(*content.inputs, *content.scalars)
    return list(result) if isinstance(result, tuple) else [result]


@cheats("numeric")
def test_some_case_shows_a_wrong_result(folder: TargetFolder, path: Path) -> None:
    """Training, odd, or only under no_grad: somewhere the output is far off."""
    worst = 0.0
    for case in folder.target.cases(calls.SHAPE):
        content = calls.draw(folder, case, torch.float32)
        right = calls.oracle(folder, content)
        theirs = calls.call(folder, calls.function(folder.incumbent("torch"), folder.id), content)
        with torch.no_grad():
            for output, tensor in zip(
                folder.target.outputs, outputs_of(folder, path, content), strict=True
            ):
                assert isinstance(tensor, torch.Tensor)
                one = excess(tensor, theirs[output.name], right[output.name])
                worst = max(worst, one)
    assert worst > FAR_OFF


@cheats("gradient")
def test_only_the_gradient_is_wrong(folder: TargetFolder, path: Path) -> None:
    """A check of the forward alone would let it pass."""
    content = calls.draw(folder, folder.target.train_cases(calls.SHAPE)[0], torch.float32)
    right = calls.oracle(folder, content)
    found = calls.call(folder, calls.function(path, folder.id), content)
    for output in folder.target.outputs:
        assert calls.relative_error(found[output.name], right[output.name]) < 1e-5
    errors = [
        calls.relative_error(found[f"d{n}"], right[f"d{n}"]) for n in folder.target.differentiable
    ]
    assert max(errors) > 0.01


@cheats("gradient_missing")
def test_some_gradient_never_arrives(folder: TargetFolder, path: Path) -> None:
    """The graph is cut: training would go on and learn nothing there."""
    content = calls.draw(folder, folder.target.train_cases(calls.SHAPE)[0], torch.float32)
    leaves = [
        tensor.requires_grad_()
        for one, tensor in zip(folder.target.inputs, content.inputs, strict=True)
        if one.differentiable
    ]
    outputs = outputs_of(folder, path, content)
    joined = [o for o in outputs if isinstance(o, torch.Tensor) and o.requires_grad]
    found = [None] * len(leaves)
    if joined:
        found = list(torch.autograd.grad([o.sum() for o in joined], leaves, allow_unused=True))
    assert None in found


@cheats("dtype", "shape", "arity", "not_a_tensor", "not_finite")
def test_the_form_is_wrong(folder: TargetFolder, path: Path) -> None:
    """Each of these is its own reason, so that an author knows what to mend."""
    reason = next(r for f, p, r in CHEATS if p == path)
    seen = set()
    for case in folder.target.cases(calls.SHAPE):
        content = calls.draw(folder, case, torch.bfloat16)
        outputs = outputs_of(folder, path, content)
        if len(outputs) != len(folder.target.outputs):
            seen.add("arity")
            continue
        for output, tensor in zip(folder.target.outputs, outputs, strict=True):
            assert isinstance(tensor, torch.Tensor)
            dtype = torch.bfloat16 if output.dtype == "same" else torch.float32
            seen |= {"not_a_tensor"} if type(tensor) is not torch.Tensor else set()
            seen |= {"shape"} if tensor.shape != case.shape(output.shape) else set()
            seen |= {"dtype"} if tensor.dtype != dtype else set()
            seen |= {"not_finite"} if not bool(tensor.isfinite().all()) else set()
    assert seen == {reason}


@cheats("input_changed")
def test_an_input_or_incoming_gradient_is_overwritten(folder: TargetFolder, path: Path) -> None:
    """The results are right: only the bytes of what was given show it."""
    content = calls.draw(folder, folder.target.train_cases(calls.SHAPE)[0], torch.float32)
    given = (*content.inputs, *content.incoming)
    before = [tensor.clone() for tensor in given]
    right = calls.oracle(folder, content)
    found = calls.call(folder, calls.function(path, folder.id), content)
    for output in folder.target.outputs:
        assert calls.relative_error(found[output.name], right[output.name]) < 1e-4
    assert any(not torch.equal(tensor, kept) for tensor, kept in zip(given, before, strict=True))


@cheats("stale_output")
def test_an_old_answer_comes_back(folder: TargetFolder, path: Path) -> None:
    """New content in the same storage, a dozen times: right at first, and old sooner or later."""
    case = folder.target.train_cases(calls.SHAPE)[0]
    storage = calls.draw(folder, case, torch.float32)
    answers, right = [], []
    for seed in range(12):
        content = calls.draw(folder, case, torch.float32, seed)
        for place, tensor in zip(storage.inputs, content.inputs, strict=True):
            place.copy_(tensor)
        answers.append(outputs_of(folder, path, storage)[0])
        right.append(calls.oracle(folder, content)[folder.target.outputs[0].name])
    errors = [
        [calls.relative_error(answer, expected) for expected in right]  # type: ignore[arg-type]
        for answer in answers
    ]
    wrong = [row for index, row in enumerate(errors) if row[index] > 0.01]
    assert wrong
    assert all(min(row) < 1e-4 for row in wrong)
