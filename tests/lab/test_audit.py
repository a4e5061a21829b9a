"""What an honest machine's noise may do to a start, and what no noise explains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab import audit
from lab.training_run import Run

RUN = Run(Path(), 9.0, (250.0,) * 16, 5.0, 8.0, 0.0, 0.1, 0.1, {})


def pairs(incumbent_s: list[float], more_s: list[float]) -> list[audit.Runs]:
    """Runs whose starts took so much CPU time, and the candidate's so much more."""
    return [
        (replace(RUN, before_cpu_s=took), replace(RUN, before_cpu_s=took + more))
        for took, more in zip(incumbent_s, more_s, strict=True)
    ]


@pytest.mark.parametrize(
    ("incumbent_s", "found"),
    [([8.0, 8.1, 7.9], True), ([7.4, 8.3, 7.9], False)],
    ids=["quiet", "the incumbent's own starts differ as much"],
)
def test_work_before_the_first_step_stands_out_of_the_incumbents_own_noise(
    incumbent_s: list[float], found: bool
) -> None:
    """An exact copy took 0.64 s more in three pairs, where the incumbent's own starts varied."""
    runs = pairs(incumbent_s, [0.75, 0.8, 0.6])
    (short,) = pairs([8.0], [-0.34])
    assert audit.starts_longer(runs) is found
    trouble = audit.worked_ahead(runs, short)
    assert bool(trouble) is found
    assert trouble is None or "took 0.75 s of CPU time more" in trouble


def test_a_start_that_compiles_is_no_work_ahead() -> None:
    """It takes as long where a single step follows."""
    runs = pairs([8.0, 8.1, 7.9], [20.0, 21.0, 19.0])
    assert audit.starts_longer(runs)
    assert audit.worked_ahead(runs, *pairs([8.0], [19.0])) is None
    assert audit.worked_ahead(runs, *pairs([8.0], [10.0])) is not None
