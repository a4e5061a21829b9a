"""Hidden shapes: legal, small, mean, and never the same twice."""

from __future__ import annotations

import math

import pytest

from kernels.spec import Case, TargetFolder, discover
from lab.harness.inputs import Layout, draw, generator
from lab.harness.shapes import LONG, SLOT_BYTES, hidden, hidden_cases

TARGETS = discover()
every_target = pytest.mark.parametrize("folder", TARGETS.values(), ids=TARGETS.keys())


def many(folder: TargetFolder, count: int = 40) -> list[Case]:
    random = generator()
    return [hidden(folder.target, random) for _ in range(count)]


@every_target
def test_every_target_says_which_sizes_are_legal(folder: TargetFolder) -> None:
    """Without ranges there are no hidden shapes, and the published ones can be learnt by heart."""
    target = folder.target
    assert target.ranges
    names = {*target.ranges, *target.derived}
    for case in target.odd_cases:
        assert names <= set(case.dims)


@every_target
def test_hidden_shapes_are_legal_and_respect_the_relations_between_dims(
    folder: TargetFolder,
) -> None:
    """A refusal on a shape that the contract forbids would blame an honest candidate."""
    target = folder.target
    for case in many(folder):
        assert case.purpose == "hidden"
        for name, allowed in target.ranges.items():
            assert case.dims[name] in allowed
        for name, (of, by) in target.derived.items():
            assert case.dims[name] * by == case.dims[of]
        content = draw(target, case, "float32", generator())
        assert all(bool(tensor.isfinite().all()) for tensor in content.inputs)


@every_target
def test_hidden_shapes_are_small_but_longer_than_a_block_somewhere(folder: TargetFolder) -> None:
    """The oracle takes milliseconds, and a kernel that handles one block per row is found out."""
    axes = {axis for one in folder.target.inputs for axis in one.shape}
    cases = many(folder)
    for case in cases:
        assert Layout.of(folder.target, case, "float32").slot_bytes <= SLOT_BYTES
    assert any(max(case.dims[axis] for axis in axes) > LONG[0] for case in cases)


@every_target
def test_hidden_shapes_are_of_every_kind(folder: TargetFolder) -> None:
    """Odd, even, powers of two and the least: what a block size divides, and what it does not."""
    cases = many(folder, 200)
    extents = [case.dims[name] for case in cases for name in folder.target.ranges]
    assert any(math.log2(n).is_integer() for n in extents if n > 1)
    assert any(n % 2 for n in extents if n > 1)
    for name, allowed in folder.target.ranges.items():
        assert any(case.dims[name] == allowed.least for case in cases)
    assert {case.layout for case in cases} == {"contiguous", "strided"}


def test_hidden_shapes_differ_within_a_run_and_between_runs(toy: TargetFolder) -> None:
    """What a failure told about one run is worth nothing in the next."""
    first, second = ({case.name for case in hidden_cases(toy.target, 5)} for _ in range(2))
    assert len(first) == len(second) == 5
    assert first != second
