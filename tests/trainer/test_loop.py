"""The loop: what counts, when it stops, what it tells, and that warm-up trains nothing."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_run import SMALL, small_data, small_engine, small_stream

from trainer.data import Prepared
from trainer.errors import DivergedError, UsageError
from trainer.loop import Heartbeat, Position, train, warm_up
from trainer.schedule import Rates, SecondsBudget, StepBudget

VOCAB = 100


class FakePending:
    def __init__(self, engine: FakeEngine, loss: float) -> None:
        self.engine, self.loss = engine, loss

    def wait(self) -> float:
        self.engine.log.append("wait")
        return self.loss


class FakeEngine:
    """Gives out the losses it was made with and writes down what it is asked to do."""

    def __init__(self, losses: Sequence[float] = (), steps_in_flight: int = 0) -> None:
        self.vocab, self.steps_in_flight = VOCAB, steps_in_flight
        self.losses = iter(losses or [5.0] * 1000)
        self.log: list[str] = []
        self.rates: list[Rates] = []
        self.sizes: list[int] = []

    def step(self, micro_batches: Sequence[Any], rates: Rates) -> FakePending:
        self.log.append("step")
        self.rates.append(rates)
        self.sizes.append(len(micro_batches))
        return FakePending(self, next(self.losses))

    def synchronize(self) -> None:
        self.log.append("synchronize")


class FakeStream:
    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((2, 32), np.int64), np.zeros((2, 32), np.int64)


def run(engine: FakeEngine, budget: Any, start: Position | None = None, **more: Any) -> Position:
    options = {"heartbeat": Heartbeat(), **more}
    return train(engine, FakeStream(), SMALL, budget, start or Position(), **options)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return small_data(tmp_path_factory.mktemp("data"))


def test_a_step_budget_runs_its_steps_with_the_right_rates() -> None:
    """Progress goes by the counted step, and every step takes all of its micro-batches."""
    engine = FakeEngine()
    position = run(engine, StepBudget(4))
    assert position.step == 4
    assert [rates.learning_rate_scale for rates in engine.rates] == [1.0, 1.0, 1.0, 0.5]
    assert [rates.weight_decay for rates in engine.rates] == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert engine.sizes == [SMALL.accumulation] * 4


def test_a_time_budget_ends_when_the_time_is_up() -> None:
    """And time from before a resume counts."""
    assert run(FakeEngine(), SecondsBudget(1e-9)).step == 1
    started = Position(step=7, seconds=20.0, first_loss=5.0)
    assert run(FakeEngine(), SecondsBudget(10.0), started).step == 7


def test_a_resumed_run_goes_on_with_its_step_count() -> None:
    """Momentum ramp and schedule must not start over."""
    engine = FakeEngine()
    started = Position(step=3, seconds=1.0, first_loss=5.0)
    position = run(engine, StepBudget(5), started)
    assert len(engine.rates) == 2
    assert position.step == 5
    assert engine.rates[0].muon_momentum == pytest.approx(0.85 + 0.1 * 3 / 300)
    assert position.seconds > 1.0


def test_every_step_is_timed_and_told_with_its_loss() -> None:
    """The sum of the steps is the training time: nothing is counted twice or left out."""
    seen: list[Position] = []
    position = run(FakeEngine([5.0, 4.0, 3.0]), StepBudget(3), on_step=seen.append)
    assert [(p.step, p.last_loss) for p in seen] == [(1, 5.0), (2, 4.0), (3, 3.0)]
    assert position.first_loss == 5.0
    assert sum(p.last_step_ms for p in seen) == pytest.approx(1e3 * position.seconds)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run(loss: float) -> None:
    """Five more minutes of NaN are worth nothing."""
    with pytest.raises(DivergedError, match="at step 3"):
        run(FakeEngine([5.0, 5.0, loss]), StepBudget(10))


def test_an_exploding_loss_ends_the_run_and_a_rising_one_does_not() -> None:
    """Three times the first loss is the end, but never below twice the loss of guessing."""
    guessing = math.log(VOCAB)
    with pytest.raises(DivergedError, match="exploded"):
        run(FakeEngine([guessing, 3.1 * guessing]), StepBudget(10))
    run(FakeEngine([guessing, 2.9 * guessing]), StepBudget(2))
    run(FakeEngine([0.5, 1.9 * guessing]), StepBudget(2))
    with pytest.raises(DivergedError, match="exploded"):
        run(FakeEngine([0.5, 2.1 * guessing]), StepBudget(10))


def test_a_device_that_works_ahead_is_not_waited_for_at_every_step() -> None:
    """The loss of a step is looked at only when the next one is launched."""
    engine = FakeEngine(steps_in_flight=1)
    assert run(engine, StepBudget(3)).step == 3
    assert engine.log == ["synchronize", "step", "step", "wait", "step", "wait", "wait"]


def test_heartbeat_says_ready_each_completed_step_and_done() -> None:
    """The judge times these lines, so each step has to be complete when its line is written."""
    reader, writer = os.pipe()
    engine = FakeEngine(steps_in_flight=1)
    run(engine, StepBudget(2), heartbeat=Heartbeat(writer))
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert lines.read().splitlines() == ["ready", "step 1", "step 2", "done"]
    assert engine.log == ["synchronize", "step", "wait", "step", "wait"]


def test_a_judge_that_went_away_does_not_stop_the_run() -> None:
    """Heartbeats are best effort; the training is not."""
    reader, writer = os.pipe()
    heartbeat = Heartbeat(writer)
    os.close(reader)
    assert run(FakeEngine(), StepBudget(2), heartbeat=heartbeat).step == 2
    os.close(writer)


def test_a_heartbeat_on_a_closed_descriptor_is_a_usage_error() -> None:
    """Told before any training, not as silence."""
    with pytest.raises(UsageError, match="descriptor"):
        Heartbeat(987)


def test_stopping_finishes_the_step_and_keeps_the_count() -> None:
    """After Ctrl-C the position is that of the weights, or a resumed run would skip data."""
    engine = FakeEngine()
    position = run(engine, StepBudget(10), should_stop=lambda: len(engine.rates) == 3)
    assert position.step == 3
    assert engine.log.count("wait") == 3


def test_garbage_collection_is_off_in_the_loop_and_on_after_it() -> None:
    """A collection in a timed step is noise; one that never comes back is a leak."""
    during: list[bool] = []
    run(FakeEngine(), StepBudget(1), on_step=lambda position: during.append(gc.isenabled()))
    assert during == [False]
    assert gc.isenabled()
    with pytest.raises(DivergedError):
        run(FakeEngine([math.nan]), StepBudget(1))
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_warm_up_leaves_weights_moments_and_data_as_they_were(prepared: Prepared) -> None:
    """Upstream's eleven uncounted steps train at full rate: a free lunch that varies by machine."""
    engine, stream = small_engine(prepared), small_stream(prepared)
    before, place = engine.snapshot(), stream.state()
    warm_up(engine, stream, SMALL)
    after = engine.snapshot()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert stream.state() == place
    untouched = small_stream(prepared)
    assert np.array_equal(next(stream)[0], next(untouched)[0])


def weights_after(prepared: Prepared, steps: int, seed: int) -> tuple[dict[str, Any], list[float]]:
    config = replace(SMALL, seed=seed)
    engine, stream = small_engine(prepared, config), small_stream(prepared, config)
    losses: list[float] = []

    def on_step(position: Position) -> None:
        losses.append(position.last_loss or 0.0)

    warm_up(engine, stream, config)
    budget = StepBudget(steps)
    train(engine, stream, config, budget, Position(), heartbeat=Heartbeat(), on_step=on_step)
    return engine.snapshot(), losses


def test_same_seed_same_weights_to_the_last_bit(prepared: Prepared) -> None:
    """Pairs of an A/B differ by nothing but the op under test."""
    first, losses = weights_after(prepared, 4, seed=1)
    again, _ = weights_after(prepared, 4, seed=1)
    other, _ = weights_after(prepared, 4, seed=2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head"], other["head"])
    assert losses[0] == pytest.approx(math.log(prepared.vocab), rel=0.01)


def test_the_model_learns(prepared: Prepared) -> None:
    """Every formula may be right and the whole still not train; this text has 12 words."""
    _, losses = weights_after(prepared, 40, seed=3)
    assert losses[-1] < 0.6 * losses[0]


def test_a_step_is_the_mean_over_its_micro_batches(prepared: Prepared) -> None:
    """Two micro-batches of 2 are one batch of 4, in loss and gradients."""
    stream = small_stream(prepared)
    halves = [next(stream), next(stream)]
    whole = [tuple(np.concatenate(parts) for parts in zip(*halves, strict=True))]
    (loss, state), (whole_loss, whole_state) = (
        (engine.step(batches, Rates(1.0, 0.9, 0.1)).wait(), engine.snapshot())
        for batches in (halves, whole)
        for engine in [small_engine(prepared)]
    )
    assert loss == pytest.approx(whole_loss, rel=1e-6)
    # after one step the first moments are the gradients, scaled
    for name in ("muon.momentum.layers.0.down", "adam.first.head"):
        scale = float(whole_state[name].abs().max())
        assert torch.allclose(state[name], whole_state[name], rtol=0, atol=1e-5 * scale)
