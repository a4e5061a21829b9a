"""How often the bench's interval holds the truth when worker processes differ from one another.

    uv run python tests/benchmarks/test_generation_coverage.py     # the tables of docs/harness.md

Every worker is off by a normal amount that all its blocks share, so that the ratio of two workers
with the same file has the stated standard deviation. The old bench took its 48 blocks from one
generation. Both it and the new one are run with the code in force. As tests: fewer trials.
Deterministic by seed.
"""

from __future__ import annotations

import math
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[2])]

from lab import bench_intervals, stats  # noqa: E402
from lab.harness.pace import Pace  # noqa: E402
from lab.outcomes import CaseTiming, Interval  # noqa: E402

OFFSETS = (0.0, 0.005, 0.01, 0.02)
BLOCK_NOISES = (0.005, 0.01, 0.02)
TRUTH = math.log(1.03)
PACE = Pace()
OLD_ROUNDS = 48


class Found(NamedTuple):
    """Of many benches: intervals that held the truth, lay above it, half width, generations."""

    coverage: float
    too_high: float
    half_width: float
    generations: float


def drawn(generator: np.random.Generator, offset: float, noise: float, most: int) -> CaseTiming:
    """A case of `most` generations, with a candidate that is truly faster by `TRUTH`."""
    shape = (most, PACE.rounds)
    workers = generator.normal(0, offset / math.sqrt(2), (3, most, 1))
    logs = workers + generator.normal(0, noise, (3, *shape))
    logs[1] -= TRUTH
    incumbent, candidate, control = (tuple(np.exp(arm).ravel().tolist()) for arm in logs)
    return CaseTiming(
        case="train",
        dtype="float32",
        calls_per_block=1,
        incumbent_ms=incumbent,
        candidate_ms=candidate,
        control_ms=control,
        floor_ms=0.0,
        speedup=Interval(point=1.0, low=1.0, high=1.0, samples=most),
        generation=tuple(np.repeat(range(most), PACE.rounds).tolist()),
    )


def first(case: CaseTiming, generations: int) -> CaseTiming:
    """What a bench that stops after so many generations has."""
    blocks = generations * PACE.rounds
    cut = {
        name: getattr(case, name)[:blocks]
        for name in ("incumbent_ms", "candidate_ms", "control_ms", "generation")
    }
    return msgspec.structs.replace(case, **cut)


def adaptive(generator: np.random.Generator, offset: float, noise: float) -> tuple[Interval, int]:
    """A bench as it is run: it stops where `Pace.settled` says so."""
    case = drawn(generator, offset, noise, PACE.generations)
    for number in range(PACE.least_generations, PACE.generations + 1):
        so_far = [first(case, number)]
        if PACE.settled(number, so_far):
            break
    return bench_intervals.speedup(so_far), number


def fixed(generator: np.random.Generator, offset: float, noise: float) -> tuple[Interval, int]:
    """The least number of generations, whatever they show."""
    case = drawn(generator, offset, noise, PACE.least_generations)
    return bench_intervals.speedup([case]), PACE.least_generations


def old(generator: np.random.Generator, offset: float, noise: float) -> tuple[Interval, int]:
    """One generation, all blocks taken as independent."""
    workers = generator.normal(0, offset / math.sqrt(2), (2, 1))
    logs = workers + generator.normal(0, noise, (2, OLD_ROUNDS))
    logs[1] -= TRUTH
    incumbent, candidate = np.exp(logs).tolist()
    return stats.ratio_interval(incumbent, candidate), 1


BENCHES = {"old": old, "fixed": fixed, "adaptive": adaptive}


def simulate(bench: str, offset: float, noise: float, trials: int) -> Found:
    """`trials` benches of one kind."""
    generator = np.random.default_rng(7)
    found = [BENCHES[bench](generator, offset, noise) for _ in range(trials)]
    truth = math.exp(TRUTH)
    return Found(
        coverage=statistics.mean(one.low <= truth <= one.high for one, _ in found),
        too_high=statistics.mean(one.low > truth for one, _ in found),
        half_width=statistics.median(bench_intervals.half_width(one) for one, _ in found),
        generations=statistics.mean(number for _, number in found),
    )


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("bench", ["fixed", "adaptive"])
def test_workers_that_differ_do_not_break_the_interval(bench: str, offset: float) -> None:
    """Nor does stopping early. 400 benches of 95% intervals: 92% is three deviations below."""
    assert simulate(bench, offset, 0.01, 400).coverage >= 0.92


def test_one_generation_took_luck_for_a_gain() -> None:
    """Why there are generations at all."""
    assert simulate("old", 0.01, 0.005, 400).coverage < 0.5


def test_a_bench_that_stops_early_is_not_a_narrower_claim_on_one_side() -> None:
    """The gate reads the lower bound: the rule to stop must not push it up."""
    assert simulate("adaptive", 0.01, 0.01, 400).too_high <= 0.05


def test_a_quiet_machine_needs_few_generations() -> None:
    """Or stopping early would save nothing."""
    quiet, uneven = (simulate("adaptive", offset, 0.005, 100) for offset in (0.0, 0.02))
    assert quiet.generations < PACE.least_generations + 0.5
    assert uneven.generations > PACE.generations - 0.5


def table(trials: int) -> None:
    """Prints what docs/harness.md shows."""
    print(f"{trials} trials each\n")
    headings = ("workers differ by", "block noise", *BENCHES, "generations")
    print(f"| {' | '.join(headings)} |")
    print("|---|---|---|---|---|---|")
    for offset in OFFSETS:
        for noise in BLOCK_NOISES:
            found = [simulate(bench, offset, noise, trials) for bench in BENCHES]
            cells = " | ".join(f"{one.coverage:.1%} ({one.half_width:.2%})" for one in found)
            print(f"| {offset:.1%} | {noise:.1%} | {cells} | {found[-1].generations:.1f} |")


if __name__ == "__main__":
    table(4000)
