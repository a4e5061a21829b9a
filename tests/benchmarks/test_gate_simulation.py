"""How often the gate errs: simulated candidates, made into records and judged by the real `judge`.

    uv run python tests/benchmarks/test_gate_simulation.py              # the tables of docs/gate.md
    uv run python tests/benchmarks/test_gate_simulation.py --trials 500 --table week

As tests, the same scenarios run with few trials and wide bounds; with `--benchmark-enable`, with
2000 trials each and the bounds of the design. Deterministic by seed, measures nothing of this
machine.

The world that is simulated: a bench has three cases of 20 blocks; a block's time has 2% noise, and
one in twenty blocks is slowed by an exponential 30%; each worker process is off by 0.5% for the
whole session, since two processes with the same file differ. A training run's time per step has the
stated noise; the two runs of a pair share none of it, which is the worst case. Differences of
val_bpb have 0.0002 noise (what was seen on a small CPU model). Looks after 3, 5 and 8 pairs, as
`kernel-lab ab` takes them. A verdict that asks for a confirmation gets one. Nobody repeats a stage
otherwise: that the number of repetitions is counted is for tests/lab/test_multiplicity.py to show.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "lab")]

from made_records import (  # noqa: E402
    CANDIDATE,
    CASES,
    INCUMBENT,
    arm,
    benched,
    calibrated,
    compared,
    timing,
    tried,
    verified,
)

from lab import stats  # noqa: E402
from lab.evidence import Evidence  # noqa: E402
from lab.gate import RULES, Policy, ab_settled, judge  # noqa: E402
from lab.gate_ab import level, may_be_confirmed  # noqa: E402
from lab.records import Pair, Tried  # noqa: E402

Noise = Callable[[np.random.Generator, float], float]
AFTER_AB = ("ab_step_time", "ab_val_bpb")
VERIFIED, CALIBRATED, POLICY = verified(), calibrated(), Policy()


def normal(generator: np.random.Generator, noise: float) -> float:
    """Run-to-run noise as textbooks have it."""
    return float(generator.normal(0, noise))


def spiky(generator: np.random.Generator, noise: float) -> float:
    """Half of it normal; every eighth run is slowed by five times the noise on average."""
    slow = generator.exponential(5 * noise) if generator.random() < 0.125 else 0.0
    return float(generator.normal(0, noise / 2) + slow)


def two_clocks(generator: np.random.Generator, noise: float) -> float:
    """Each run finds the processor in one of two clock states, 2 * noise apart."""
    return float(generator.normal(0, noise / 10) + 2 * noise * (generator.random() < 0.5))


@dataclass(frozen=True)
class World:
    """One kind of candidate on one kind of machine. Gains are true ratios minus 1."""

    run_noise: float
    step_gain: float = 0.0
    bench_gain: float = 0.0
    bpb_change: float = 0.0
    bpb_noise: float = 0.0002
    shape: Noise = normal
    worker_noise: float = 0.005


@dataclass(frozen=True)
class Outcome:
    """What became of all candidates of one world."""

    trials: int
    promoted: int
    rejected: int
    pairs: float

    @property
    def rate(self) -> float:
        return self.promoted / self.trials

    def interval(self) -> tuple[float, float]:
        """95% Clopper-Pearson interval of the promotion rate."""
        from scipy.stats import binomtest

        found = binomtest(self.promoted, self.trials).proportion_ci(0.95)
        return float(found.low), float(found.high)


def bench(generator: np.random.Generator, world: World) -> Any:
    """A simulated stage 4."""
    offsets = generator.normal(0, world.worker_noise, 3)
    means = np.array([1.0, 1 / (1 + world.bench_gain), 1.0]) * np.exp(offsets)
    cases = []
    for case in CASES:
        times = generator.lognormal(0, 0.02, (3, 20))
        spikes = generator.exponential(0.3, (3, 20)) * (generator.random((3, 20)) < 0.05)
        cases.append(timing(case, *(times * (1 + spikes) * means[:, None]).tolist()))
    return benched(cases=cases)


def one_pair(generator: np.random.Generator, world: World, number: int) -> Pair:
    """A simulated pair of training runs."""
    incumbent_ms = 100 * np.exp(world.shape(generator, world.run_noise))
    candidate_ms = 100 / (1 + world.step_gain) * np.exp(world.shape(generator, world.run_noise))
    change = generator.normal(world.bpb_change, world.bpb_noise)
    return Pair(
        seed=number,
        order="AB" if number % 2 == 0 else "BA",
        incumbent=arm(float(incumbent_ms), 2.0, INCUMBENT),
        candidate=arm(float(candidate_ms), 2.0 + float(change), CANDIDATE),
    )


def trained(generator: np.random.Generator, world: World, judged_as: int, seeds: int) -> Tried:
    """A simulated stage 5: looks until one decides, at the level of attempt `judged_as`."""
    pairs: list[Pair] = []
    for count in stats.LOOKS:
        pairs += [one_pair(generator, world, seeds + n) for n in range(len(pairs), count)]
        if ab_settled(compared(pairs), POLICY, judged_as):
            break
    return tried(compared(pairs))


def candidate(generator: np.random.Generator, world: World, attempt: int) -> tuple[str, int, int]:
    """One candidate whose A/B is number `attempt`: the decision, pairs trained, A/Bs begun."""
    first = trained(generator, world, attempt, 0)
    found = Evidence(verified=VERIFIED, tried=first, calibrated=CALIBRATED, attempt=attempt)
    spent, begun = len(first.outcome.pairs), 1
    if may_be_confirmed(found, POLICY):
        fresh = trained(generator, world, 1, 100)
        found = msgspec.structs.replace(found, before=first, tried=fresh, attempt=attempt + 1)
        assert level(found, POLICY) == 1
        spent, begun = spent + len(fresh.outcome.pairs), 2
    if any(RULES[name](found, POLICY).state == "contradicted" for name in AFTER_AB):
        return "reject", spent, begun  # whatever the bench says, which is dear to simulate
    found = msgspec.structs.replace(found, benched=bench(generator, world))
    return judge(found, POLICY).decision, spent, begun


def candidates(world: World, trials: int, seed: int, attempt: int = 1) -> Iterator[tuple[str, int]]:
    """(decision, pairs trained) of each simulated candidate, through the real gate."""
    generator = np.random.default_rng(seed)
    for _ in range(trials):
        decision, pairs, _ = candidate(generator, world, attempt)
        yield decision, pairs


def simulate(world: World, trials: int, seed: int = 7, attempt: int = 1) -> Outcome:
    """Judges `trials` candidates of `world`, each of them try number `attempt` on its target."""
    return outcome_of(list(candidates(world, trials, seed, attempt)))


def simulate_weeks(world: World, trials: int, seed: int = 7, tries: int = 10) -> Outcome:
    """`trials` weeks of `tries` candidates on one target; promoted: weeks that let any of them in.

    A confirmation is an A/B too, so those that come after one have a higher number.
    """
    generator = np.random.default_rng(seed)
    weeks = []
    for _ in range(trials):
        attempt, spent, decisions = 1, 0, []
        for _ in range(tries):
            decision, pairs, begun = candidate(generator, world, attempt)
            attempt, spent = attempt + begun, spent + pairs
            decisions.append(decision)
        best = min(decisions, key=("promote", "hold", "reject").index)
        weeks.append((best, spent))
    return outcome_of(weeks)


def outcome_of(found: Sequence[tuple[str, int]]) -> Outcome:
    return Outcome(
        trials=len(found),
        promoted=sum(decision == "promote" for decision, _ in found),
        rejected=sum(decision == "reject" for decision, _ in found),
        pairs=sum(pairs for _, pairs in found) / len(found),
    )


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
    return 2000 if request.config.getoption("benchmark_enable") else 150


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", NULLS)
def test_null_candidates_are_promoted_at_most_once_in_a_hundred(
    name: str, noise: float, trials: int
) -> None:
    """The nearest public gate lets 7 to 24% of kernels in that do nothing."""
    found = simulate(replace(NULLS[name], run_noise=noise), trials)
    assert found.interval()[0] <= 0.01
    assert found.rate <= (0.04 if trials < 2000 else 0.014)


@pytest.mark.parametrize(("gain", "least"), [(0.03, 0.9), (0.05, 0.95), (0.15, 0.95)])
def test_true_gains_are_found(gain: float, least: float, trials: int) -> None:
    """A gate that never promotes would pass every other test."""
    found = simulate(with_gain(gain), trials)
    assert found.interval()[1] >= least
    assert found.rate >= least - (0.07 if trials < 2000 else 0.015)


@pytest.mark.parametrize("noise", NOISES)
def test_a_week_of_ten_null_candidates_lets_one_in_at_most_once_in_a_hundred(
    noise: float, trials: int
) -> None:
    """Whoever tries ten times must not have ten times the luck."""
    found = simulate_weeks(replace(NULLS[BENCH_ONLY], run_noise=noise), trials // 5)
    assert found.interval()[0] <= 0.01


@pytest.mark.parametrize(("gain", "least"), [(0.03, 0.8), (0.05, 0.9)])
def test_true_gains_are_found_at_the_tenth_try(gain: float, least: float, trials: int) -> None:
    """An honest tenth candidate pays with more pairs, not with its chance."""
    found = simulate(with_gain(gain), trials, attempt=10)
    assert found.rate >= least - (0.07 if trials < 2000 else 0.015)


def test_a_large_gain_is_often_decided_after_three_pairs(trials: int) -> None:
    """Eight pairs of training runs for a kernel that is plainly better would waste a day."""
    decided = [pairs == 3 for _, pairs in candidates(with_gain(0.25), trials, 7)]
    assert np.mean(decided) > 0.5


def test_a_candidate_that_harms_the_model_is_let_in_at_most_once_in_twenty(trials: int) -> None:
    """However fast: worse by the margin is the least that must be kept out."""
    for world in list(HARMS.values())[:2]:
        assert simulate(world, trials).interval()[0] <= 0.05


def rows() -> Iterator[tuple[str, World]]:
    """Every world of the table, by name."""
    for name, world in NULLS.items():
        for noise in NOISES:
            yield name, replace(world, run_noise=noise)
    for gain in GAINS:
        yield f"steps {gain:.0%} faster", with_gain(gain)
    yield "steps 3% faster, workers off by 1%", replace(with_gain(0.03), worker_noise=0.01)
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
            found = simulate(with_gain(gain), trials, 100 + seed, attempt)
            print(f"| {gain:.0%} | {attempt} | {line(found)}", flush=True)


def weeks(trials: int) -> None:
    """Weeks of ten candidates that win their bench and change nothing."""
    print(
        "| ten in a week | run noise | weeks | any promoted | 95% interval | all rejected | pairs |"
    )
    print("|---|---|---|---|---|---|---|")
    for seed, noise in enumerate(NOISES):
        world = replace(NULLS[BENCH_ONLY], run_noise=noise)
        found = simulate_weeks(world, trials, 200 + seed)
        print(f"| {BENCH_ONLY} | {noise:.1%} | {line(found)}", flush=True)


TABLES = {"first": first_try, "later": later_tries, "week": weeks}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--table", choices=TABLES, action="append")
    given = parser.parse_args()
    for name in given.table or TABLES:
        print()
        TABLES[name](given.trials)
