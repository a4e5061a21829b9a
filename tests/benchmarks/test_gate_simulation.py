"""How often the gate errs: simulated candidates, judged as the gate judges.

    uv run python tests/benchmarks/test_gate_simulation.py              # the tables of docs/gate.md
    uv run python tests/benchmarks/test_gate_simulation.py --trials 500 --table week

As tests, the same scenarios run with 2000 trials, with `--benchmark-enable` with 10,000, and the
bounds of the design. Deterministic by seed, measures nothing of this machine. What is simulated is
told in `simulated_worlds.py`, how in `gate_in_bulk.py`. One candidate in a hundred goes through the
real code as well; where that judges otherwise, the simulation ends with an error.

Looks after 3, 5 and 8 pairs, as `kernel-lab ab` takes them, then a bench of 4 to 8 generations. A
verdict that asks for a confirmation gets one. Nobody repeats a stage otherwise: that the number of
repetitions is counted is for tests/lab/test_multiplicity.py to show.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "lab")]

from gate_in_bulk import CONTRADICTED, HOLDS, OPEN, Judged, bench, disagreement, judged  # noqa: E402
from simulated_worlds import World, draw_benches, spiky, two_clocks  # noqa: E402

CHECKED_EVERY = 100


@dataclass(frozen=True)
class Outcome:
    """What became of all candidates of one world, or of all weeks."""

    trials: int
    promoted: int
    rejected: int
    pairs: float

    @classmethod
    def of(cls, decision: np.ndarray, pairs: np.ndarray) -> Outcome:
        promoted, rejected = (int(np.sum(decision == one)) for one in (HOLDS, CONTRADICTED))
        return cls(len(decision), promoted, rejected, float(pairs.mean()))

    @property
    def rate(self) -> float:
        return self.promoted / self.trials

    def interval(self) -> tuple[float, float]:
        """95% Clopper-Pearson interval of the promotion rate."""
        return share_interval(self.promoted, self.trials)


def share_interval(count: int, trials: int) -> tuple[float, float]:
    """95% Clopper-Pearson interval."""
    from scipy.stats import binomtest

    found = binomtest(count, trials).proportion_ci(0.95)
    return float(found.low), float(found.high)


def candidates(
    world: World, attempts: np.ndarray, generator: np.random.Generator, checked: int = CHECKED_EVERY
) -> Judged:
    """One candidate for each number of its A/B, one in `checked` of them judged twice."""
    found = judged(generator, world, attempts)
    for number in range(0, len(attempts), checked):
        problem = disagreement(found, number, world)
        assert not problem, problem
    return found


def simulate(world: World, trials: int, seed: int = 7, attempt: int = 1) -> Outcome:
    """`trials` candidates of `world`, each of them try number `attempt` on its target."""
    found = candidates(world, np.full(trials, attempt), np.random.default_rng(seed))
    return Outcome.of(found.decision, found.pairs)


def simulate_weeks(world: World, trials: int, seed: int = 7, tries: int = 10) -> Outcome:
    """`trials` weeks of `tries` candidates on one target; promoted: weeks that let any of them in.

    A confirmation is an A/B too, so those that come after one have a higher number.
    """
    generator = np.random.default_rng(seed)
    attempts, pairs = np.ones(trials, dtype=int), np.zeros(trials)
    best = np.full(trials, CONTRADICTED)
    for _ in range(tries):
        found = candidates(world, attempts, generator)
        attempts = attempts + found.begun
        pairs += found.pairs
        best = np.maximum(best, found.decision)
    return Outcome.of(best, pairs)


NOISES = (0.005, 0.01, 0.02, 0.05)
BENCH_ONLY = "25% in the bench, nothing in training"
NULLS = {
    "changes nothing": World(0.0),
    "changes nothing, workers off by 2%": World(0.0, worker_noise=0.02),
    BENCH_ONLY: World(0.0, bench_gain=0.25),
    "same, spiky runs": World(0.0, bench_gain=0.25, shape=spiky),
    "same, two clock states": World(0.0, bench_gain=0.25, shape=two_clocks),
}
GAINS = (0.01, 0.02, 0.03, 0.05, 0.15)
HARMS = {
    "val_bpb worse by exactly the margin": World(0.01, 0.10, 0.25, bpb_change=0.002),
    "val_bpb worse by 0.004, 0.001 noise": World(0.01, 0.10, 0.25, 0.004, 0.001),
    "val_bpb unchanged, 0.001 noise": World(0.01, 0.10, 0.25, 0.0, 0.001),
}


def with_gain(gain: float) -> World:
    return World(0.01, step_gain=gain, bench_gain=0.25)


@pytest.fixture(name="trials")
def _trials(request: pytest.FixtureRequest) -> int:
    return 10_000 if request.config.getoption("benchmark_enable") else 2000


def off_by_luck(trials: int, share: float = 0.01) -> float:
    """Three standard deviations of a share found in so many trials."""
    return 3 * (share * (1 - share) / trials) ** 0.5


@pytest.mark.parametrize("attempt", [1, 4])
@pytest.mark.parametrize(
    "world",
    [
        World(0.01, worker_noise=0.03),
        replace(with_gain(0.02), worker_noise=0.01),
        replace(with_gain(0.03), bench_gain=0.03, bench_took_s=40.0),
        replace(with_gain(0.05), bench_gain=0.03),
        *HARMS.values(),
    ],
)
def test_the_arithmetic_in_bulk_is_that_of_the_gate(world: World, attempt: int) -> None:
    """Or the tables would speak of another gate than the one in force."""
    candidates(world, np.full(30, attempt), np.random.default_rng(attempt), checked=1)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", NULLS)
def test_null_candidates_are_promoted_at_most_once_in_a_hundred(
    name: str, noise: float, trials: int
) -> None:
    """The nearest public gate lets 7 to 24% of kernels in that do nothing."""
    found = simulate(replace(NULLS[name], run_noise=noise), trials)
    assert found.rate <= 0.01 + off_by_luck(trials)


@pytest.mark.parametrize(("gain", "least"), [(0.03, 0.9), (0.05, 0.95), (0.15, 0.95)])
def test_true_gains_are_found(gain: float, least: float, trials: int) -> None:
    """A gate that never promotes would pass every other test."""
    assert simulate(with_gain(gain), trials).rate >= least - off_by_luck(trials, least)


@pytest.mark.parametrize("noise", NOISES)
def test_a_week_of_ten_null_candidates_lets_one_in_at_most_once_in_a_hundred(
    noise: float, trials: int
) -> None:
    """Whoever tries ten times must not have ten times the luck."""
    found = simulate_weeks(replace(NULLS[BENCH_ONLY], run_noise=noise), trials)
    assert found.rate <= 0.01 + off_by_luck(trials)


@pytest.mark.parametrize(("gain", "least"), [(0.03, 0.8), (0.05, 0.9)])
def test_true_gains_are_found_at_the_tenth_try(gain: float, least: float, trials: int) -> None:
    """An honest tenth candidate pays with more pairs, not with its chance."""
    assert simulate(with_gain(gain), trials, attempt=10).rate >= least - off_by_luck(trials, least)


def test_a_large_gain_is_often_decided_after_three_pairs(trials: int) -> None:
    """Eight pairs of training runs for a kernel that is plainly better would waste a day."""
    found = candidates(with_gain(0.25), np.ones(trials, dtype=int), np.random.default_rng(7))
    assert np.mean(found.pairs == 3) > 0.5


def test_a_candidate_that_harms_the_model_is_let_in_at_most_once_in_twenty(trials: int) -> None:
    """However fast: worse by the margin is the least that must be kept out."""
    for world in list(HARMS.values())[:2]:
        assert simulate(world, trials).rate <= 0.05 + off_by_luck(trials, 0.05)


@pytest.mark.parametrize("worker_noise", [0.005, 0.01, 0.02])
def test_a_bench_alone_seldom_sees_a_gain_that_is_not_there(
    worker_noise: float, trials: int
) -> None:
    """A 95% interval that lies above 1.02 by chance, where the truth is exactly that."""
    world = World(0.0, bench_gain=0.02, worker_noise=worker_noise)
    found = bench(draw_benches(np.random.default_rng(7), world, trials // 4))
    assert np.mean(found.state == HOLDS) <= 0.03 + off_by_luck(trials // 4, 0.03)


def rows() -> Iterator[tuple[str, World]]:
    """Every world of the table, by name."""
    for name, world in NULLS.items():
        for noise in NOISES:
            yield name, replace(world, run_noise=noise)
    for gain in GAINS:
        yield f"steps {gain:.0%} faster", with_gain(gain)
    yield "steps 3% faster, workers off by 1%", replace(with_gain(0.03), worker_noise=0.01)
    yield "steps 3% faster, workers off by 2%", replace(with_gain(0.03), worker_noise=0.02)
    yield "steps 3% faster, 4% in the bench", replace(with_gain(0.03), bench_gain=0.04)
    for name, world in HARMS.items():
        yield f"steps 10% faster, {name}", world


def line(found: Outcome) -> str:
    """The cells that every table has."""
    low, high = found.interval()
    return (
        f"{found.trials:,} | {found.rate:.2%} | {low:.2%} to {high:.2%} | "
        f"{found.rejected / found.trials:.1%} | {found.pairs:.1f} |"
    )


def first_try(trials: int) -> None:
    """Each kind of candidate, at the first try on its target."""
    print("| candidate | run noise | trials | promoted | 95% interval | rejected | pairs |")
    print("|---|---|---|---|---|---|---|")
    for seed, (name, world) in enumerate(rows()):
        print(
            f"| {name} | {world.run_noise:.1%} | {line(simulate(world, trials, seed))}", flush=True
        )


def later_tries(trials: int) -> None:
    """True gains at 1% noise, by the number of the try; confirmations included."""
    print("| steps faster by | try | trials | promoted | 95% interval | rejected | pairs |")
    print("|---|---|---|---|---|---|---|")
    for seed, gain in enumerate((0.01, 0.02, 0.03, 0.05)):
        for attempt in (1, 2, 5, 10):
            found = simulate(with_gain(gain), trials, 100 + 10 * seed + attempt, attempt)
            print(f"| {gain:.0%} | {attempt} | {line(found)}", flush=True)


def weeks(trials: int) -> None:
    """Weeks of ten candidates that win their bench and change nothing; ten times as many weeks."""
    print(
        "| ten in a week | run noise | weeks | any promoted | 95% interval | all rejected | pairs |"
    )
    print("|---|---|---|---|---|---|---|")
    for seed, noise in enumerate(NOISES):
        world = replace(NULLS[BENCH_ONLY], run_noise=noise)
        found = simulate_weeks(world, 10 * trials, 200 + seed)
        print(f"| {BENCH_ONLY} | {noise:.1%} | {line(found)}", flush=True)


def benches(trials: int) -> None:
    """A first bench by itself: what its rules say together, whatever training does."""
    print(
        "| workers off by | faster by | benches | holds | 95% interval | undecided | contradicted "
        "| generations |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for seed, worker_noise in enumerate((0.005, 0.01, 0.02)):
        for gain in (0.0, 0.02, 0.03, 0.04, 0.05, 0.1):
            world = World(0.0, bench_gain=gain, worker_noise=worker_noise)
            generator = np.random.default_rng(300 + 10 * seed + round(100 * gain))
            found = bench(draw_benches(generator, world, trials))
            shares = [np.mean(found.state == one) for one in (HOLDS, OPEN, CONTRADICTED)]
            low, high = share_interval(int(np.sum(found.state == HOLDS)), trials)
            print(
                f"| {worker_noise:.1%} | {gain:.0%} | {trials:,} | {shares[0]:.2%} | "
                f"{low:.2%} to {high:.2%} | {shares[1]:.1%} | {shares[2]:.1%} | "
                f"{found.generations.mean():.1f} |",
                flush=True,
            )


TABLES = {"first": first_try, "later": later_tries, "week": weeks, "bench": benches}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--table", choices=TABLES, action="append")
    given = parser.parse_args()
    for name in given.table or TABLES:
        print()
        TABLES[name](given.trials)
