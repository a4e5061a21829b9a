"""Before a refusal: who is asked again, and what that may not let through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from in_process import InProcess
from torch import Tensor

from kernels.spec import Case, discover
from lab.harness import oracle, tolerances
from lab.harness.appeal import MORE_NEIGHBOURS, NEIGHBOURS, Appeal
from lab.harness.forms import exchange
from lab.harness.inputs import Content, Layout, pack
from lab.harness.tolerances import Bounds, Distance

FOLDER = discover()["sliding_window_attention"]
HONEST = Path(__file__).parents[2] / "honest" / FOLDER.id / "scores_made_again.py"
CASE = Case("sharp", {"batch": 2, "sequence": 33, "heads": 2, "head_dim": 32, "window": 32})
DQ = 1
"""Its place among the tensors: y, dq, dk, dv."""


@pytest.fixture(scope="module")
def content() -> Content:
    """Attention in which most positions look at one key alone, so that dq is next to nothing."""
    generator = torch.Generator().manual_seed(1)
    q, k, v, dy = torch.randn(4, 2, 33, 2, 32, generator=generator)
    q, k = (4 * one[..., :1].expand_as(one) for one in (q, k))
    return Content((q, k, v), (dy,), FOLDER.target.scalars_of(CASE.dims))


@pytest.fixture(scope="module")
def judged(content: Content) -> Iterator[Callable[[Callable[[Tensor], Tensor]], Distance]]:
    """How far the honest candidate's dq is from right, after a change to it."""
    layout = Layout.of(FOLDER.target, CASE, "float32")
    arena = 4 * layout.slot_bytes
    files = (HONEST, FOLDER.incumbent("torch"))
    ours, theirs = (InProcess(file, FOLDER.id, arena) for file in files)
    with ours, theirs:
        for session in (ours, theirs):
            session.prepare()
            session.arrange(layout, 1)
        given = pack(layout, [content])
        span = layout.gradients[0]
        found, own = (exchange(one, given, True).tensors(span)[0] for one in (ours, theirs))
        within = tolerances.bounds(oracle.evaluate(FOLDER, content).tensors[DQ], own, "float32")
        appeal = Appeal(FOLDER, layout, theirs, differentiate=True)
        yield lambda change: appeal.distance(content, DQ, change(found), within)


def test_the_rounding_of_a_peer_is_no_fault(
    judged: Callable[[Callable[[Tensor], Tensor]], Distance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The incumbent's softmax rounds to exactly zero where streaming kernels cannot."""
    assert judged(lambda dq: dq).ok
    monkeypatch.setattr(oracle, "peers", lambda folder, content: iter(()))
    assert judged(lambda dq: dq).excess > 1.5


@pytest.mark.parametrize(
    "change",
    [
        torch.zeros_like,
        lambda dq: dq * 1.01,
        lambda dq: dq.bfloat16().float(),
        lambda dq: torch.where(dq.abs() < 1e-4 * dq.abs().max(), 0.0, dq.roll(1, 1)),
    ],
    ids=["zeros", "a hundredth more", "bfloat16", "of the next position"],
)
def test_nothing_else_gets_through_by_it(
    change: Callable[[Tensor], Tensor],
    judged: Callable[[Callable[[Tensor], Tensor]], Distance],
) -> None:
    """The peer's error is one of float32, however sharp the softmax."""
    assert not judged(change).ok


def test_a_near_miss_is_looked_at_with_more_neighbours(
    judged: Callable[[Callable[[Tensor], Tensor]], Distance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong by a few percent may be the first neighbours' luck; by half more, it is not."""
    asked: list[int] = []
    near = Appeal._near

    def counting(self: Appeal, content: Content, index: int, count: int) -> Iterator[Bounds]:
        asked.append(count)
        return near(self, content, index, count)

    monkeypatch.setattr(Appeal, "_near", counting)
    noise = torch.randn(2, 33, 2, 32, generator=torch.Generator().manual_seed(2))

    def noisy(size: float) -> float:
        return judged(lambda dq: dq + size * noise).excess

    by_size = noisy(1e-3) / 1e-3
    for excess, looks in ((1.2, [NEIGHBOURS, MORE_NEIGHBOURS]), (3.0, [NEIGHBOURS])):
        asked.clear()
        noisy(excess / by_size)
        assert asked == looks
