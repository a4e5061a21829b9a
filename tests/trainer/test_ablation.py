"""Steps without one op on the torch engine: the op is free, all else is computed as ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_run import SHORT, SMALL, incumbents, run_train, small_data, small_stream

from kernels.spec import discover
from trainer.ablation import Ablation
from trainer.data import Prepared
from trainer.engines.torch import stand_in
from trainer.engines.torch.engine import TorchEngine
from trainer.loop import take
from trainer.ops import OpTable
from trainer.schedule import rates_at

CALLED = [name for name, folder in discover().items() if not folder.target.parts]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return small_data(tmp_path_factory.mktemp("data"))


def test_every_op_can_be_free_and_comes_back(prepared: Prepared) -> None:
    """The step still trains every weight, and one after it is what it was before to the bit: a
    stand-in whose buffer the optimizer had changed, or that cut the graph, shows here."""
    torch.set_num_threads(1)
    ablation = Ablation(stand_in)
    engine: Any = TorchEngine("cpu", SMALL, prepared.vocab, ablation.wrap(incumbents()), False)
    batch, rates = take(small_stream(prepared), SMALL.accumulation), rates_at(SMALL, 0, 0.0)
    snapshot = engine.snapshot()

    def step() -> float:
        engine.restore(snapshot)
        return float(engine.step(batch, rates).wait())

    plain = step()
    assert sorted(ablation.called) == sorted(CALLED)
    for name in CALLED:
        with ablation.without(name):
            step()
            first = step()
            assert step() == first, name
        assert step() == plain, name


def test_a_free_op_does_not_call_the_op() -> None:
    """Nor does its backward pass; and what it returns has the shape, dtype and gradient asked of
    it."""
    calls: list[Any] = []
    real = incumbents()["rope_qk_norm"]
    op = replace(real, function=lambda *given: (calls.append(given), real.function(*given))[1])
    ablation = Ablation(stand_in)
    counting = ablation.wrap(OpTable({"rope_qk_norm": op}))
    q, k = (torch.randn(1, 3, 2, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    cos, sin = torch.randn(3, 4).bfloat16(), torch.randn(3, 4).bfloat16()
    with ablation.without("rope_qk_norm"):
        learnt = counting.rope_qk_norm(q, k, cos, sin, 1e-6)
        found = counting.rope_qk_norm(q, k, cos, sin, 1e-6)
    assert len(calls) == 1
    for one, other in zip(found, learnt, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == torch.bfloat16
    sum(y.float().sum() for y in found).backward()  # type: ignore[union-attr]
    assert torch.equal(q.grad, torch.full_like(q, stand_in.GRADIENT))  # type: ignore[arg-type]
    counting.rope_qk_norm(q, k, cos, sin, 1e-6)
    assert len(calls) == 2


def test_ablation_without_a_trace_is_told(
    prepared: Prepared,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would train with a switch in every op and measure nothing."""
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(prepared.folder.parent.parent))
    code, _, err = run_train(capsys, *SHORT, f"--data={prepared.name}", "--ablate")
    assert code == 2
    assert "--ablate needs --trace" in err
