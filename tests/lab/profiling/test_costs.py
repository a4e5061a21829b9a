"""Least traffic and arithmetic: the numbers that a roofline, and so the ranking, rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from kernels.spec import Case, Cost, Target, TargetFolder, discover
from lab.profiling import costs
from lab.profiling.costs import Work, step_work
from trainer.config import TrainConfig, muon_matrices
from trainer.flops import flops_per_token

TINY = TrainConfig(
    depth=2,
    aspect_ratio=32,
    head_dim=32,
    sequence=8,
    window_pattern="SL",
    device_batch_size=3,
    total_batch_size=48,
)
"""Width 64, two heads, 24 tokens a micro-batch, two micro-batches; windows 4 and 8."""
VOCAB = 100
PROJECTIONS = ("qkv_projection", "attention_projection", "mlp_up", "mlp_down", "head_projection")
ATTENTION = "sliding_window_attention"


@pytest.fixture(autouse=True)
def _no_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "discover", dict)


def attention_alone() -> dict[str, TargetFolder]:
    """The one target that is not counted by hand."""
    return {ATTENTION: discover()[ATTENTION]}


def flops(work: tuple[Work, ...]) -> float:
    return sum(cost.flops * times for cost, times in work)


def moved(work: tuple[Work, ...]) -> float:
    return sum(cost.bytes_moved * times for cost, times in work)


def counted(call: Callable[[], torch.Tensor]) -> int:
    """FLOPs of forward and backward as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        call().sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "calls"),
    [
        ("qkv_projection", 64, 192, 4),
        ("attention_projection", 64, 64, 4),
        ("mlp_up", 64, 256, 4),
        ("mlp_down", 256, 64, 4),
        ("head_projection", 64, VOCAB, 2),
    ],
)
def test_projections_agree_with_torchs_own_counter(
    op: str, inputs: int, outputs: int, calls: int
) -> None:
    """Calls per step: two layers (one head) times two micro-batches of 24 tokens."""
    x = torch.randn(24, inputs, requires_grad=True)
    weight = torch.randn(outputs, inputs, requires_grad=True)
    once = counted(lambda: F.linear(x, weight))
    assert flops(step_work(TINY, VOCAB, 4, {})[op]) == calls * once


def test_attention_counts_only_the_pairs_that_a_token_may_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Position i sees itself and up to `window` before it: 4 -> 1+2+3+4+5+5+5+5, 8 -> 1+...+8.

    A pair costs a multiply-add per channel for the score and one for the value; backward twice.
    """
    monkeypatch.setattr(costs, "discover", attention_alone)
    work = step_work(TINY, VOCAB, 4, {ATTENTION: 4})[ATTENTION]
    pairs = {sum(min(i + 1, 5) for i in range(8)), sum(range(1, 9))}
    assert {cost.flops_forward for cost, _ in work} == {3 * 64 * 4 * p for p in pairs}
    assert [times for _, times in work] == [2, 2]
    three = replace(TINY, depth=3, aspect_ratio=21, window_pattern="S")
    work = step_work(three, VOCAB, 4, {ATTENTION: 6})[ATTENTION]
    assert [times for _, times in work] == [4, 2]  # two layers see half, the last all
    x = torch.randn(3, 2, 8, 32, requires_grad=True)
    square = counted(lambda: (x @ x.transpose(-1, -2)) @ x)
    assert max(cost.flops for cost, _ in work) == pytest.approx(square * 36 / 64)


def test_the_whole_step_agrees_with_the_trainers_utilisation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two independent counts of the same model: products and attention, per token."""
    monkeypatch.setattr(costs, "discover", attention_alone)
    work = step_work(TINY, VOCAB, 4, {ATTENTION: 4})
    gate_products = 3 * 2 * 24 * 32 * 2 * 2  # the layer with a value embedding, two micro-batches
    total = sum(flops(work[op]) for op in (*PROJECTIONS, ATTENTION)) + gate_products
    assert total == pytest.approx(48 * flops_per_token(TINY, VOCAB))


def test_bytes_counted_by_hand() -> None:
    """One projection, one add, one table, in both passes: [24, 64] float32 is 6144 bytes."""
    x, weight = 24 * 64 * 4, 64 * 64 * 4
    cost = costs.projection_cost(24, 64, 64, 4)
    assert cost.bytes_forward == 2 * x + weight
    assert cost.bytes_backward == 3 * x + 2 * weight  # dy, x, w -> dx, dw
    assert costs.residual_add_cost(24 * 64, 4) == Cost(3 * x, 24 * 64)
    assert costs.residual_mix_cost(24 * 64, 4).bytes_backward == 5 * x
    table = costs.embedding_cost(24, 64, VOCAB, 4)
    assert table.bytes_forward == 24 * 8 + 2 * x
    assert table.bytes_backward == 24 * 8 + x + VOCAB * 64 * 4
    many = costs.embedding_cost(1000, 64, VOCAB, 4)
    assert many.bytes_forward == 1000 * (8 + 256) + VOCAB * 256  # rows repeat: read once


def test_bfloat16_halves_activations_and_keeps_weights() -> None:
    """Weights and their gradients stay float32 in the trainer."""
    full, half = costs.projection_cost(24, 64, 64, 4), costs.projection_cost(24, 64, 64, 2)
    weights = 3 * 64 * 64 * 4
    assert half.bytes_moved - weights == (full.bytes_moved - weights) / 2
    assert half.flops == full.flops


def test_the_optimizer_touches_every_weight_once() -> None:
    """Muon's matrices and AdamW's tables are all weights there are, seven transfers each."""
    work = step_work(TINY, VOCAB, 4, {})
    matrices = sum(count * rows * columns for count, rows, columns in muon_matrices(TINY))
    assert moved(work["muon_update"]) == 7 * 4 * matrices
    tables = 3 * VOCAB * 64 + 4  # tokens, one value embedding, the head; four scalars
    assert costs.adamw_weights(TINY, VOCAB) == tables
    assert moved(work["adamw"]) + moved(work["adamw_lambdas"]) == 7 * 4 * tables
    assert moved(work["adamw_lambdas"]) == 7 * 4 * 4
    assert moved(work["gradient_accumulation"]) == 3 * 4 * (matrices + tables)


def test_one_micro_batch_accumulates_nothing() -> None:
    """Its gradients are handed over, not added: a cost there would be an impossible roofline."""
    single = TrainConfig(depth=2, sequence=8, device_batch_size=6, total_batch_size=48)
    assert moved(step_work(single, VOCAB, 4, {})["gradient_accumulation"]) == 0


def test_targets_cost_what_they_say_times_the_calls_that_were_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trace knows how often an op was called; two stacks of different shape share the calls."""
    target = Target(
        summary="",
        inputs=(),
        outputs=(),
        train_cases=lambda shape: (
            Case("wide", {"n": shape.width}, "train"),
            Case("long", {"n": shape.sequence}, "train"),
        ),
        odd_cases=(),
        cost=lambda dims, itemsize: Cost(dims["n"] * itemsize, dims["n"]),
    )
    folder = TargetFolder("rmsnorm", Path("rmsnorm"))
    folder.__dict__["target"] = target
    monkeypatch.setattr(costs, "discover", lambda: {"rmsnorm": folder})
    work = step_work(TINY, VOCAB, 2, {"rmsnorm": 6})["rmsnorm"]
    assert work == (Work(Cost(64 * 2, 64), 3), Work(Cost(8 * 2, 8), 3))
