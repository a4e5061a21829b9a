"""If the interval took blocks of one process for independent, luck would pass for a gain."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from made_records import timing
from scipy import stats as reference

from lab import bench_intervals, stats
from lab.outcomes import CaseTiming


def case(
    offsets: list[float], blocks: int = 8, noise: float = 0.005, seed: int = 0, gain: float = 1.1
) -> CaseTiming:
    """Generations whose candidate is off by `offsets` (logarithms) beside its true gain."""
    generator = np.random.default_rng(seed)
    shape = (len(offsets), blocks)
    incumbent, candidate, control = generator.lognormal(0, noise, (3, *shape))
    candidate *= np.exp(np.array(offsets))[:, None] / gain
    made = timing("train", *(one.ravel().tolist() for one in (incumbent, candidate, control)))
    numbers = tuple(number for number in range(shape[0]) for _ in range(blocks))
    return msgspec.structs.replace(made, generation=numbers)


def middle_halves(one: CaseTiming) -> np.ndarray:
    """The 25% trimmed mean log ratio of each generation, as scipy computes it."""
    logs = np.log(one.incumbent_ms) - np.log(one.candidate_ms)
    numbers = np.array(one.generation)
    return np.array(
        [reference.trim_mean(logs[numbers == number], 0.25) for number in sorted(set(numbers))]
    )


def test_it_is_students_interval_over_generations() -> None:
    """A wrong formula would show against scipy's."""
    one = case([0.03, -0.02, 0.01, -0.03, 0.02])
    means = middle_halves(one)
    expected = reference.t.interval(0.95, 4, means.mean(), reference.sem(means))
    found = bench_intervals.speedup([one])
    assert (math.log(found.low), math.log(found.high)) == pytest.approx(expected)
    assert found.samples == 5


def test_many_blocks_of_few_workers_do_not_narrow_it() -> None:
    """The old interval holds 1.1 here only by luck: its 400 blocks are four draws."""
    one = case([0.05, 0.04, -0.01, 0.06], blocks=100)
    blocks = stats.ratio_interval(one.incumbent_ms, one.candidate_ms)
    found = bench_intervals.speedup([one])
    assert blocks.high < 1.1
    assert found.low < 1.1 < found.high


def test_generations_that_agree_by_luck_claim_no_more_than_their_blocks() -> None:
    """Four numbers that happen to be equal would have no width at all."""
    rows = np.tile([1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98, 1.01], 4)
    rows[0] = 1.0001
    made = timing("train", rows.tolist(), [1.0] * 32, np.roll(rows, 1).tolist())
    one = msgspec.structs.replace(made, generation=tuple(np.repeat(range(4), 8).tolist()))
    blocks = stats.ratio_interval(one.incumbent_ms, one.candidate_ms)
    found = bench_intervals.speedup([one])
    assert bench_intervals.half_width(found) == pytest.approx(bench_intervals.half_width(blocks))


def test_cases_share_the_luck_of_their_workers() -> None:
    """Ten cases of the same four workers are not forty draws."""
    offsets = [0.02, -0.02, 0.01, -0.01]
    cases = [case(offsets, seed=seed) for seed in range(10)]
    alone = bench_intervals.half_width(bench_intervals.speedup(cases[:1]))
    together = bench_intervals.half_width(bench_intervals.speedup(cases))
    assert together == pytest.approx(alone, rel=0.2)


def test_without_generations_blocks_are_taken_as_independent() -> None:
    """Lines of one generation keep the interval that they were written with."""
    one = msgspec.structs.replace(case([0.0, 0.0]), generation=())
    assert bench_intervals.speedup([one]) == stats.geomean_interval(
        [(one.incumbent_ms, one.candidate_ms)]
    )


def test_the_control_is_the_other_arm() -> None:
    """A control computed from the candidate would fail with every good candidate."""
    one = case([0.0, 0.001, -0.001, 0.0], gain=3.0)
    assert bench_intervals.speedup([one]).low > 2.9
    assert bench_intervals.control([one]).high < 1.02


def test_samples_that_do_not_fit_together_are_refused() -> None:
    """A lost number would shift blocks between generations unseen."""
    one, other = case([0.0, 0.01]), case([0.0, 0.01, 0.02])
    with pytest.raises(ValueError, match="different generations"):
        bench_intervals.speedup([one, other])
    short = msgspec.structs.replace(one, generation=one.generation[1:])
    with pytest.raises(ValueError, match="16 blocks, but generations of 15"):
        bench_intervals.speedup([short])
    with pytest.raises(ValueError, match="no cases"):
        bench_intervals.speedup([])
