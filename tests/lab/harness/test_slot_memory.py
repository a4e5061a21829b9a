"""The shared memory, without a worker: what the judge writes, reads and clears in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from kernels.spec import TargetFolder
from lab.harness import inputs
from lab.harness.inputs import Layout
from lab.harness.slot_memory import SlotMemory


@pytest.fixture
def layout(toy: TargetFolder) -> Layout:
    return Layout.of(toy.target, toy.target.odd_cases[0], "float32")


@pytest.fixture
def memory(layout: Layout) -> Iterator[SlotMemory]:
    """Room for two slots, laid out."""
    memory = SlotMemory(2 * layout.slot_bytes)
    memory.arrange(layout, 2)
    yield memory
    memory.close()


def test_poison_covers_all_results_and_inputs_only_when_asked(
    toy: TargetFolder, layout: Layout, memory: SlotMemory
) -> None:
    """Results of the last round would pass as this one's; inputs must stay as they were written."""
    case = toy.target.odd_cases[0]
    contents = [inputs.draw(toy.target, case, "float32", inputs.generator()) for _ in range(2)]
    given = inputs.pack(layout, contents)
    memory.write(given)
    memory.poison()
    assert bool((memory.read_given(2) == given).all())
    assert bool((memory.read_results(2) == inputs.POISON).all())
    memory.write(given[0], 1)
    assert bool((memory.read_given(2) == given[0]).all())
    memory.poison(given_too=True)
    assert bool((memory.read_given(2) == inputs.POISON).all())


def test_more_slots_than_fit_are_refused(layout: Layout, memory: SlotMemory) -> None:
    """Else the last slot's results would be read from beyond the end."""
    with pytest.raises(ValueError, match="do not fit"):
        memory.arrange(layout, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux seals memory")
def test_who_holds_it_cannot_make_it_shorter(memory: SlotMemory) -> None:
    """The judge would read nothing where it looks for results."""
    with pytest.raises(PermissionError):
        os.ftruncate(memory.descriptor, 0)
