"""New contents from old ones: really new where they must be, and what they were in all else."""

from __future__ import annotations

import pytest
import torch
from test_inputs import CASE, INTEGER, STRIDED, TARGET

from kernels.spec import Case
from lab.harness import inputs
from lab.harness.inputs import Layout, draw, generator, pack, unpack
from lab.harness.variations import mix, nudged, shuffle


@pytest.mark.parametrize("case", [CASE, STRIDED], ids=["contiguous", "strided"])
def test_shuffled_content_is_new_but_has_the_same_values(case: Case) -> None:
    """Timed inputs are new at little cost; tables and the poison between rows stay as they are."""
    layout = Layout.of(TARGET, case, "float32")
    given = pack(layout, [draw(TARGET, case, "float32", generator())])[0]
    before = unpack(layout, given.clone())
    shuffle(layout, TARGET, given, generator())
    after = unpack(layout, given)
    for one, other in (
        (before.inputs[0], after.inputs[0]),
        (before.incoming[0], after.incoming[0]),
    ):
        assert not torch.equal(one, other)
        assert torch.equal(one.flatten().sort()[0], other.flatten().sort()[0])
    assert torch.equal(before.inputs[2], after.inputs[2])
    for tensor in (*after.inputs, *after.incoming):
        tensor.view(INTEGER[tensor.element_size()]).fill_(-1)
    assert bool((given == inputs.POISON).all())


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("case", [CASE, STRIDED], ids=["contiguous", "strided"])
def test_mixed_content_keeps_half_of_no_row(case: Case, slots: int) -> None:
    """What was computed for a slot is of no use for the next, and no value is one never drawn."""
    layout = Layout.of(TARGET, case, "float32")
    drawn = [draw(TARGET, case, "float32", generator()) for _ in range(slots)]
    given = pack(layout, drawn)
    mix(layout, TARGET, given, generator())
    for slot, before in zip(given, drawn, strict=True):
        after = unpack(layout, slot)
        assert torch.equal(before.inputs[2], after.inputs[2])
        one, other = before.inputs[0], after.inputs[0]
        assert 0.3 < float((one == other).double().mean()) < 0.95
        every = torch.cat([content.inputs[0].flatten() for content in drawn])
        assert bool(torch.isin(other.flatten(), every).all())
        assert not torch.equal(before.incoming[0], after.incoming[0])
        for tensor in (*after.inputs, *after.incoming):
            tensor.view(INTEGER[tensor.element_size()]).fill_(-1)
    assert bool((given == inputs.POISON).all())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nudged_content_is_a_few_roundings_away(dtype: str) -> None:
    """Near enough for the same bounds, far enough for another draw of rounding errors."""
    content = draw(TARGET, CASE, dtype, generator())
    near = nudged(content, generator())
    spacing = torch.finfo(content.inputs[0].dtype).eps
    for one, other in zip(content.inputs, near.inputs, strict=True):
        assert other.dtype == one.dtype
        assert bool(((one - other).abs() <= 3 * spacing * one.abs()).all())
    assert not torch.equal(content.inputs[0], near.inputs[0])
    assert torch.equal(content.inputs[1], near.inputs[1]), "an index stays"
