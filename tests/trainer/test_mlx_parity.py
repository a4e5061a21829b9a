"""The MLX engine computes what the torch engine does, tensor by tensor, as far as float32 goes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from parity import Row, groups, measure
from small_run import SMALL

from trainer.engines.mlx.optim import MuonAdamW, mx
from trainer.parameters import shapes
from trainer.schedule import Rates

VOCAB = 61
STEPS = 20


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def first_that_differs(rows: list[Row]) -> str:
    """Its name and numbers, or nothing."""
    return next(
        (f"{r.name}: {r.error:.1e}, float32 alone {r.noise:.1e}" for r in rows if not r.agrees), ""
    )


@pytest.mark.parametrize("whole", [False, True], ids=["in_parts", "larger_ops_whole"])
def test_both_engines_compute_the_same_tensor_by_tensor(whole: bool) -> None:
    """Logits, losses, all gradients, and all weights after 20 steps of the whole schedule, with two
    micro-batches a step; the failure names the first tensor that differs."""
    rows = measure(SMALL, VOCAB, seed=10, steps=STEPS, whole=whole)
    assert len(rows) == 2 + 2 * len(shapes(SMALL, VOCAB))
    assert first_that_differs(rows) == ""
    assert sum(len(group) for _, group in groups(rows)) == len(rows), "docs leave a tensor out"


@pytest.mark.parametrize(
    ("changed", "factor", "named"),
    [
        ("momentum", 1.0012, "layers."),  # 0.851 for 0.85
        ("scale", 1.001, "token_embedding"),
        ("decay", 1.01, "layers."),
    ],
)
def test_a_rate_that_is_slightly_off_is_named(
    monkeypatch: pytest.MonkeyPatch, changed: str, factor: float, named: str
) -> None:
    """Were it within the tolerance, a schedule that never reaches Muon might be, too."""

    def off(rates: Rates) -> dict[str, mx.array]:
        numbers = right(rates)
        return {**numbers, changed: numbers[changed] * factor}

    right = MuonAdamW.numbers
    monkeypatch.setattr(MuonAdamW, "numbers", staticmethod(off))
    rows = measure(replace(SMALL, depth=1, aspect_ratio=48), VOCAB, seed=10, steps=1)
    assert first_that_differs(rows).startswith(f"weight {named}")
