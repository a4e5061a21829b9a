"""Budgets and the rates that follow from progress."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import PRESETS
from trainer.errors import UsageError
from trainer.schedule import (
    SecondsBudget,
    StepBudget,
    budget_from_json,
    learning_rate_scale,
    muon_momentum,
    rates_at,
)

CONFIG = PRESETS["upstream"]


def test_step_budget_runs_exactly_its_steps() -> None:
    """One step more or less would make two runs of the same flags differ."""
    budget = StepBudget(4)
    assert [budget.progress(step, 0.0) for step in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert [budget.is_spent(step, 1e9) for step in range(6)] == [False] * 4 + [True] * 2


def test_time_budget_ends_with_the_step_that_crosses_the_line() -> None:
    """The wall clock decides, and progress stays within 1 when the last step runs over."""
    budget = SecondsBudget(10.0)
    assert budget.progress(3, 5.0) == 0.5
    assert budget.progress(9, 12.0) == 1
    assert not budget.is_spent(9, 9.99)
    assert budget.is_spent(9, 10.0)
    assert not budget.is_spent(0, 11.0)


@pytest.mark.parametrize("budget", [StepBudget(7), SecondsBudget(1.5)])
def test_budgets_survive_a_checkpoint(budget: StepBudget | SecondsBudget) -> None:
    """A resumed run must end where the first would have ended."""
    assert budget_from_json(budget.as_json()) == budget


@pytest.mark.parametrize("make", [lambda: StepBudget(0), lambda: SecondsBudget(float("nan"))])
def test_a_budget_of_nothing_is_refused(make: object) -> None:
    """Told with the flag, not as a division by zero."""
    with pytest.raises(UsageError, match="--"):
        make()


def test_learning_rate_is_level_then_falls_to_the_final_fraction() -> None:
    """Upstream's schedule: no warm-up, second half linear to zero."""
    assert [learning_rate_scale(CONFIG, p) for p in (0.0, 0.5, 0.75)] == [1.0, 1.0, 0.5]
    ends_at_tenth = replace(CONFIG, final_lr_fraction=0.1)
    assert learning_rate_scale(ends_at_tenth, 0.75) == pytest.approx(0.55)
    warms_up = replace(CONFIG, warmup_ratio=0.2)
    assert learning_rate_scale(warms_up, 0.1) == pytest.approx(0.5)
    never_falls = replace(CONFIG, warmdown_ratio=0.0)
    assert learning_rate_scale(never_falls, 0.999) == 1.0


@given(
    progress=st.floats(0, 1),
    warm_up=st.floats(0, 0.5),
    warm_down=st.floats(0, 0.5),
    final=st.floats(0, 1),
)
def test_learning_rate_stays_between_zero_and_one(
    progress: float, warm_up: float, warm_down: float, final: float
) -> None:
    """Whatever the ratios: a negative or huge rate destroys a run in one step."""
    config = replace(
        CONFIG, warmup_ratio=warm_up, warmdown_ratio=warm_down, final_lr_fraction=final
    )
    assert 0 <= learning_rate_scale(config, progress) <= 1


def test_momentum_ramps_by_steps_and_weight_decay_falls_with_progress() -> None:
    """Momentum 0.85 to 0.95 over 300 steps, decay from 0.2 to zero, as upstream."""
    assert [muon_momentum(CONFIG, step) for step in (0, 150, 300, 5000)] == pytest.approx(
        [0.85, 0.9, 0.95, 0.95]
    )
    assert rates_at(CONFIG, 0, 0.0).weight_decay == pytest.approx(0.2)
    assert rates_at(CONFIG, 0, 0.75).weight_decay == pytest.approx(0.05)
