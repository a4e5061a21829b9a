"""What crosses between judge and worker in a timed round: right results stay right on the way."""

from __future__ import annotations

import pytest
import torch
from in_process import InProcess

from kernels.spec import TargetFolder, discover
from lab.harness import forms, inputs, oracle, tolerances
from lab.harness.inputs import Layout
from lab.harness.protocol import Given, Span
from lab.selftest.arena import SHAPE

TARGETS = discover().values()


@pytest.mark.parametrize("folder", TARGETS, ids=[folder.id for folder in TARGETS])
def test_what_a_starting_candidate_was_timed_on_is_right(folder: TargetFolder) -> None:
    """One of them hands the incoming gradient on as an input's: taken back, it was lost."""
    case = folder.target.train_cases(SHAPE)[0]
    layout = Layout.of(folder.target, case, "float32")
    random = inputs.generator()
    contents = [inputs.draw(folder.target, case, "float32", random) for _ in range(2)]
    given = inputs.pack(layout, contents)
    with InProcess(folder.path / "candidates" / "torch.py", folder.id, 2 * layout.slot_bytes) as it:
        it.prepare()
        it.arrange(layout, 2)
        for exchange in (forms.exchange_timed, forms.exchange_one_by_one):
            answers = exchange(it, given, layout.differentiable)
            forms.check_inputs(it, answers, layout, given)
            for slot, content in enumerate(contents):
                right = oracle.evaluate(folder, content).tensors
                spans = (*layout.outputs, *layout.gradients)
                for expected, span in zip(right, spans, strict=True):
                    found = answers.tensors(span)[slot]
                    within = tolerances.bounds(expected, found, "float32")
                    assert tolerances.not_finite(found, within) is None
                    assert (found - expected).norm() <= 1e-3 * expected.norm()


@pytest.mark.parametrize(
    ("offset", "strides"),
    [(-4, (1,)), (2, (1,)), (0, (-1,)), (0, (1, 1)), (4, (1,)), (0, (2,)), (2**70, (1,))],
)
def test_a_worker_can_name_no_place_that_is_not_there(
    offset: int, strides: tuple[int, ...]
) -> None:
    """Its word is worth a look into the judge's copy of what was given, and no more."""
    given = torch.arange(16, dtype=torch.uint8)
    span = Span(offset=0, dtype="float32", shape=(4,), strides=(1,))
    assert inputs.within(given, span, Given(offset=offset, strides=strides)) is None
    found = inputs.within(given, span, Given(offset=0, strides=(1,)))
    assert found is not None
    assert torch.equal(found.view(torch.uint8), given)
