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

from kernels.spec import TargetFolder, discover
from lab.harness import inputs
from lab.harness.faults import Fault
from lab.harness.inputs import Layout
from lab.harness.midway import AHEAD, Change, Changes, plan
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
    with Changes(planned(toy, layout), memory, given, drawn(toy, layout)) as changes:
        calls.start()
        calls.join()
    assert torch.equal(memory.read_given(SLOTS), given), "what was given follows the changes"
    return changes, given, calls.seen


def planned(toy: TargetFolder, layout: Layout) -> list[Change]:
    return plan(layout, toy.target, SLOTS, inputs.generator())


def test_a_change_belongs_to_a_pass_that_has_not_begun(toy: TargetFolder, layout: Layout) -> None:
    """And lies within what that pass is given."""
    x, dy = layout.arguments[0].offset, layout.incoming[0].offset
    for _ in range(20):
        changes = planned(toy, layout)
        assert [change.slot for change in changes] == list(range(SLOTS))
        for change in changes:
            assert change.start < change.stop <= layout.given_bytes
            if change.start >= dy:
                assert change.first == change.last == 2 * change.slot + 1, "in its forward pass"
            else:
                assert change.start >= x
                assert 1 <= change.first <= change.last == 2 * change.slot
                assert change.last - change.first < 2 * AHEAD


@pytest.mark.parametrize("target", ["softcap_cross_entropy", "rope_qk_norm", "adamw_step"])
def test_only_floats_that_are_drawn_by_element_change(target: str) -> None:
    """Half of a class would be none, and a table of cosines has to stay one."""
    folder = discover()[target]
    layout = Layout.of(folder.target, folder.target.odd_cases[0], "float32")
    inputs_of = zip(layout.arguments, folder.target.inputs, strict=True)
    fixed = [s for s, one in inputs_of if one.kind == "index" or not one.scaled]
    assert fixed
    for change in plan(layout, folder.target, 50, inputs.generator()):
        assert not any(change.start <= span.offset < change.stop for span in fixed)
        assert not any(span.offset <= change.start < span.offset + 4 for span in fixed)


def test_a_single_call_without_gradient_has_nothing_to_change() -> None:
    """Nothing runs before it."""
    folder = discover()["adamw_step"]
    layout = Layout.of(folder.target, folder.target.odd_cases[0], "float32")
    assert not plan(layout, folder.target, 1, inputs.generator())
    assert len(plan(layout, folder.target, 2, inputs.generator())) == 1


def test_who_reads_in_time_has_seen_every_clear_change(
    toy: TargetFolder, layout: Layout, memory: SlotMemory
) -> None:
    """Else honest candidates would be refused."""
    made = 0
    for _ in range(5):
        changes, given, seen = one_block(toy, layout, memory, ahead=False)
        assert all(torch.equal(seen[slot], given[slot]) for slot in changes.clear)
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
    before, first = given.clone(), Change(1, 1, 2, layout.arguments[0].offset, layout.given_bytes)
    with Changes([first], memory, given, drawn(toy, layout)) as changes:
        while torch.equal(given[1], before[1]):
            time.sleep(0.001)
    assert not changes.clear


@pytest.mark.parametrize("count", [-1, -(2**63), 2**63 - 1, 4 * SLOTS])
def test_a_forged_count_changes_nothing(
    toy: TargetFolder, layout: Layout, memory: SlotMemory, count: int
) -> None:
    """It is the worker's to write, and may not lead the judge out of the slots."""
    given = drawn(toy, layout)
    before = given.clone()
    with Changes(planned(toy, layout), memory, given, drawn(toy, layout)) as changes:
        forged = count.to_bytes(COUNT_BYTES, sys.byteorder, signed=True)
        os.pwrite(memory.descriptor, forged, memory.mapped_bytes - COUNT_BYTES)
        time.sleep(0.01)
    assert not changes.clear
    assert torch.equal(given, before)


def check_changing(toy: TargetFolder, layout: Layout, ours: InProcess, theirs: InProcess) -> None:
    """Until it is refused; enough blocks that a change comes in time."""
    outputs = TimedOutputs(toy, layout)
    for _ in range(TRIES):
        given, fresh = drawn(toy, layout), drawn(toy, layout)
        outputs.check_changing(planned(toy, layout), given, fresh, ours, theirs)


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
