"""Inputs that change while calls run: late enough to find out who read ahead, never too late."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import torch
from in_process import InProcess

from kernels.spec import TargetFolder
from lab.harness import inputs
from lab.harness.faults import Fault
from lab.harness.inputs import Layout
from lab.harness.midway import Changes, change_at
from lab.harness.protocol import COUNT_BYTES
from lab.harness.slot_memory import SlotMemory
from lab.harness.timed_outputs import TimedOutputs

SLOTS = 12
TRIES = 50
"""On a busy machine a block may pass without a change."""
READS_AHEAD = """
import sys, time, torch
import torch.nn.functional as F

class Both(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, incoming, eps):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            y = F.rms_norm(leaf, (x.shape[-1],), eps=eps)
        (ctx.dx,) = torch.autograd.grad(y, leaf, incoming)
        time.sleep(0.001)
        return y.detach()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.dx, None, None

def toynorm(x, eps):
    return Both.apply(x, sys._getframe(1).f_locals["slot"].incoming[0], eps)
"""


@pytest.fixture
def layout(toy: TargetFolder) -> Layout:
    return Layout.of(toy.target, toy.target.odd_cases[0], "float32")


@pytest.fixture
def memory(layout: Layout) -> Iterator[SlotMemory]:
    memory = SlotMemory(SLOTS * layout.slot_bytes)
    memory.arrange(layout, SLOTS)
    yield memory
    memory.close()


def drawn(toy: TargetFolder, layout: Layout) -> torch.Tensor:
    """The given bytes of all slots."""
    generator, case = inputs.generator(), toy.target.odd_cases[0]
    contents = [inputs.draw(toy.target, case, "float32", generator) for _ in range(SLOTS)]
    return inputs.pack(layout, contents)


class Calls(Thread):
    """A worker that looks at what it is given when a pass begins, as the honest one does; or at
    all of it when the first pass begins."""

    def __init__(self, memory: SlotMemory, layout: Layout, ahead: bool) -> None:
        super().__init__()
        self._memory, self._ahead = memory, ahead
        self._incoming = layout.incoming[0].offset
        self.seen = torch.zeros((SLOTS, layout.given_bytes), dtype=torch.uint8)

    def run(self) -> None:
        for begun in range(1, 2 * SLOTS + 1):
            count = begun.to_bytes(COUNT_BYTES, sys.byteorder)
            memory = self._memory
            os.pwrite(memory.descriptor, count, memory.mapped_bytes - COUNT_BYTES)
            slot, backward = divmod(begun - 1, 2)
            part = slice(self._incoming, None) if backward else slice(0, self._incoming)
            now = memory.read_given(SLOTS)
            if not self._ahead:
                self.seen[slot, part] = now[slot, part]
            elif begun == 1:
                self.seen[:] = now
            time.sleep(0.0005)


def one_block(
    toy: TargetFolder, layout: Layout, memory: SlotMemory, ahead: bool
) -> tuple[Changes, torch.Tensor, torch.Tensor]:
    """What was changed, what calls were given in the end, and what the worker saw."""
    given = drawn(toy, layout)
    memory.write(given)
    calls = Calls(memory, layout, ahead)
    with Changes(memory, layout, given, drawn(toy, layout), inputs.generator()) as changes:
        calls.start()
        calls.join()
    assert torch.equal(memory.read_given(SLOTS), given), "what was given follows the changes"
    return changes, given, calls.seen


def test_a_change_belongs_to_a_pass_that_has_not_begun(layout: Layout) -> None:
    """And lies within what that pass is given, before the slot's end."""
    generator = inputs.generator()
    for begun in range(1, 200):
        change = change_at(begun, layout, generator)
        assert begun <= change.allowed
        assert change.allowed in (2 * change.slot, 2 * change.slot + 1)
        assert 0 < change.start < change.stop <= layout.given_bytes
        if change.allowed % 2:
            assert begun == change.allowed, "not before its forward pass runs"
            assert change.start >= layout.incoming[0].offset


def test_who_reads_in_time_has_seen_every_clear_change(
    toy: TargetFolder, layout: Layout, memory: SlotMemory
) -> None:
    """Else honest candidates would be refused."""
    made = 0
    for _ in range(5):
        changes, given, seen = one_block(toy, layout, memory, ahead=False)
        assert not changes.clear & changes.unclear
        for slot in set(range(SLOTS)) - changes.unclear:
            assert torch.equal(seen[slot], given[slot])
        made += len(changes.clear)
    assert made, "nothing was changed, so nothing was tested"


def test_who_reads_ahead_has_missed_a_clear_change(
    toy: TargetFolder, layout: Layout, memory: SlotMemory
) -> None:
    for _ in range(TRIES):
        changes, given, seen = one_block(toy, layout, memory, ahead=True)
        if any(not torch.equal(seen[slot], given[slot]) for slot in changes.clear):
            return
    pytest.fail("no change was made in time")


def test_a_change_that_came_too_late_is_not_judged(
    toy: TargetFolder, layout: Layout, memory: SlotMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call may have seen half of it."""
    counts = iter([1])
    monkeypatch.setattr(memory, "begun", lambda: next(counts, 2 * SLOTS))
    given = drawn(toy, layout)
    with Changes(memory, layout, given, drawn(toy, layout), inputs.generator()) as changes:
        while not changes.unclear:
            time.sleep(0.001)
    assert len(changes.unclear) == 1
    assert not changes.clear


@pytest.mark.parametrize("count", [-1, -(2**63), 2**63 - 1, 3 * SLOTS])
def test_a_forged_count_changes_nothing(
    toy: TargetFolder, layout: Layout, memory: SlotMemory, count: int
) -> None:
    """It is the worker's to write, and may not lead the judge out of the slots."""
    given = drawn(toy, layout)
    before = given.clone()
    with Changes(memory, layout, given, drawn(toy, layout), inputs.generator()) as changes:
        forged = count.to_bytes(COUNT_BYTES, sys.byteorder, signed=True)
        os.pwrite(memory.descriptor, forged, memory.mapped_bytes - COUNT_BYTES)
        time.sleep(0.01)
    assert not changes.clear | changes.unclear
    assert torch.equal(given, before)


def check_changing(toy: TargetFolder, layout: Layout, ours: InProcess, theirs: InProcess) -> None:
    """Until it is refused; enough blocks that a change comes in time."""
    outputs = TimedOutputs(toy, layout)
    for _ in range(TRIES):
        given, fresh = drawn(toy, layout), drawn(toy, layout)
        outputs.check_changing(given, fresh, ours, theirs, inputs.generator())


def test_backward_within_the_forward_is_refused_and_says_why(
    toy: TargetFolder, layout: Layout, tmp_path: Path
) -> None:
    early, size = tmp_path / "early.py", SLOTS * layout.slot_bytes
    early.write_text(READS_AHEAD)
    with (
        InProcess(early, toy.id, size) as ours,
        InProcess(toy.incumbent("torch"), toy.id, size) as theirs,
    ):
        for session in (ours, theirs):
            session.prepare()
            session.arrange(layout, SLOTS)
        with pytest.raises(Fault, match="before its pass") as refused:
            check_changing(toy, layout, ours, theirs)
    assert refused.value.reason == "gradient"
