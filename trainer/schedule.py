"""What changes over a run: the budget's progress and the rates that follow from it.

    budget = StepBudget(200)                      # or SecondsBudget(300)
    progress = budget.progress(step, seconds)     # before each step
    rates = rates_at(config, step, progress)

The learning rate and the weight decay follow progress, Muon's momentum the number of steps, as in
karpathy/autoresearch. Under a time budget progress is wall clock, so the same seed on a busier
machine takes other steps; under a step budget a run is reproducible. Holds no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from trainer.config import TrainConfig
from trainer.errors import UsageError

DEFAULT_SECONDS = 300.0
"""The fixed budget of a run unless told otherwise, as upstream."""


class Budget(Protocol):
    """How much training a run may do."""

    def progress(self, step: int, seconds: float) -> float:
        """The part used up after `step` steps and `seconds` of training; 1 when it is spent."""

    def is_spent(self, step: int, seconds: float) -> bool:
        """Whether no further step may begin."""

    def as_json(self) -> dict[str, Any]:
        """The flag that makes this budget, for `budget_from_json`."""


@dataclass(frozen=True)
class StepBudget:
    """A fixed number of optimizer steps."""

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"--steps must be at least 1, not {self.steps}")

    def progress(self, step: int, seconds: float) -> float:
        """Step 0 of n is at 0, the last at (n - 1) / n."""
        return min(1.0, step / self.steps)

    def is_spent(self, step: int, seconds: float) -> bool:
        """After the last step."""
        return step >= self.steps

    def as_json(self) -> dict[str, Any]:
        """`{"steps": n}`."""
        return {"steps": self.steps}


@dataclass(frozen=True)
class SecondsBudget:
    """A fixed time of training on the wall clock. The step that crosses the line is the last."""

    seconds: float = DEFAULT_SECONDS

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise UsageError(f"--time-budget must be more than 0 seconds, not {self.seconds}")

    def progress(self, step: int, seconds: float) -> float:
        """The share of the time that has gone by."""
        return min(1.0, seconds / self.seconds)

    def is_spent(self, step: int, seconds: float) -> bool:
        """Once the time is up; the first step always runs."""
        return step > 0 and seconds >= self.seconds

    def as_json(self) -> dict[str, Any]:
        """`{"seconds": s}`."""
        return {"seconds": self.seconds}


def budget_from_json(content: dict[str, Any]) -> Budget:
    """The budget that `as_json` wrote."""
    return StepBudget(**content) if "steps" in content else SecondsBudget(**content)


@dataclass(frozen=True)
class Rates:
    """What the optimizer needs to know about one step."""

    learning_rate_scale: float
    """Multiplies every learning rate."""
    muon_momentum: float
    weight_decay: float


def rates_at(config: TrainConfig, step: int, progress: float) -> Rates:
    """The rates of step `step` (from 0) at `progress`."""
    return Rates(
        learning_rate_scale(config, progress),
        muon_momentum(config, step),
        config.weight_decay * (1 - progress),
    )


def learning_rate_scale(config: TrainConfig, progress: float) -> float:
    """Linear warm-up from 0 to 1, level, then linear down to `final_lr_fraction`."""
    if progress < config.warmup_ratio:
        return progress / config.warmup_ratio
    remaining = 1 - progress
    if remaining >= config.warmdown_ratio:
        return 1.0
    share = remaining / config.warmdown_ratio
    return share + (1 - share) * config.final_lr_fraction


def muon_momentum(config: TrainConfig, step: int) -> float:
    """Linear from start to end over the first `muon_momentum_ramp_steps` steps, then level."""
    share = min(1.0, step / max(1, config.muon_momentum_ramp_steps))
    return (1 - share) * config.muon_momentum_start + share * config.muon_momentum_end
