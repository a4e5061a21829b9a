"""The gate's arithmetic on many simulated candidates at once: what `judge` would say of each.

    found = judged(generator, world, attempts)      one candidate per entry of `attempts`

The real code takes one to ten milliseconds for each, too long for ten thousand of every kind. So
its arithmetic stands here a second time, and `disagreement` holds it against the real one: it makes
records of a candidate's draws and sends them through `ab_settled`, `Pace.settled`, the bench's own
outcome and `judge`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from made_records import CANDIDATE, INCUMBENT, arm, benched, calibrated, compared, timing, tried
from made_records import CASES as CASE_NAMES
from made_records import verified as verified_record
from scipy.special import stdtrit
from simulated_worlds import PACE, PAIRS, Runs, World, draw_benches, draw_runs

from lab import bench_intervals, stats
from lab.evidence import Evidence
from lab.gate import Policy, ab_settled, judge
from lab.gate_ab import level, may_be_confirmed
from lab.harness.bench import CONTROL_MARGIN, _outcome
from lab.outcomes import CaseTiming, Pair
from lab.records import Benched as BenchRecord
from lab.records import Tried

HOLDS, OPEN, CONTRADICTED = 1, 0, -1
DECISIONS = {HOLDS: "promote", OPEN: "hold", CONTRADICTED: "reject"}
POLICY, VERIFIED, CALIBRATED = Policy(), verified_record(), calibrated()
CHUNK = 2000
"""Benches at a time: 10 MB of block times."""


class Intervals(NamedTuple):
    """Of log ratios, each [candidate]."""

    centre: np.ndarray
    half: np.ndarray


class Benched(NamedTuple):
    """What the gate's rules say of many benches, and how many generations these took."""

    state: np.ndarray
    generations: np.ndarray


class Trained(NamedTuple):
    """What they say of many A/Bs, pairs trained, and whether another may confirm it."""

    state: np.ndarray
    pairs: np.ndarray
    would_do: np.ndarray


@dataclass(frozen=True)
class Judged:
    """Many candidates, with the draws that made them; all arrays [candidate] where nothing is said.

    `fresh` and `benches` hold only those that came so far, whose numbers are in `confirmed` and
    `timed`.
    """

    decision: np.ndarray
    pairs: np.ndarray
    begun: np.ndarray
    generations: np.ndarray
    attempts: np.ndarray
    first: Runs
    fresh: Runs
    confirmed: np.ndarray
    benches: np.ndarray
    timed: np.ndarray


def judged(generator: np.random.Generator, world: World, attempts: np.ndarray) -> Judged:
    """Candidate i has an A/B that is number `attempts[i]` on its target, then a bench."""
    count = len(attempts)
    first = draw_runs(generator, world, count)
    found = train(first, attempts)
    confirmed = np.flatnonzero((found.state == CONTRADICTED) & found.would_do & (attempts > 1))
    fresh = draw_runs(generator, world, len(confirmed))
    again = train(fresh, np.ones(len(confirmed), dtype=int))
    state, pairs, begun = found.state.copy(), found.pairs.copy(), np.ones(count, dtype=int)
    state[confirmed] = again.state
    pairs[confirmed] += again.pairs
    begun[confirmed] += 1
    timed = np.flatnonzero(state == HOLDS)
    timed = np.flatnonzero(state == HOLDS)
    benches = draw_benches(generator, world, len(timed))
    generations = np.zeros(count, dtype=int)
    for chunk in np.split(np.arange(len(timed)), range(CHUNK, len(timed), CHUNK)):
        state[timed[chunk]], generations[timed[chunk]] = bench(benches[chunk], world.bench_took_s)
    return Judged(
        decision=state,
        pairs=pairs,
        begun=begun,
        generations=generations,
        attempts=attempts,
        first=first,
        fresh=fresh,
        confirmed=confirmed,
        benches=benches,
        timed=timed,
    )


def train(runs: Runs, levels: np.ndarray) -> Trained:
    """A/Bs that look until one decides, each with the share of the error of attempt `levels[i]`."""
    state, pairs = np.zeros(len(levels), dtype=int), np.zeros(len(levels), dtype=int)
    for number, needed in enumerate(stats.LOOKS):
        step, bpb = _look(runs, number, levels)
        settled = (state == OPEN) & ((np.minimum(step, bpb) == CONTRADICTED) | (step + bpb == 2))
        state[settled] = np.minimum(step, bpb)[settled]
        pairs[settled] = needed
    as_first = np.ones_like(levels)
    would_do = np.minimum(*_look(runs, len(stats.LOOKS) - 1, as_first)) == HOLDS
    return Trained(state, pairs, would_do & (pairs == PAIRS))


def _look(runs: Runs, number: int, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What step time and val_bpb are found to be; at the last look, undecided is contradicted."""
    undecided = CONTRADICTED if number == len(stats.LOOKS) - 1 else OPEN
    spread = stats.LEAST_PAIR_SPREAD[number]
    step = _mean_bounds(
        runs.log_speedups, number, _spend(POLICY.step_alpha, number, levels), spread
    )
    bpb = _mean_bounds(runs.bpb_changes, number, _spend(POLICY.bpb_alpha, number, levels))
    margin = POLICY.bpb_margin
    return (
        _state(step.centre - step.half > 0, step.centre + step.half < 0, undecided),
        _state(bpb.centre + bpb.half < margin, bpb.centre - bpb.half > margin, undecided),
    )


def _spend(total: float, number: int, levels: np.ndarray) -> np.ndarray:
    shares = [stats.spend(total, number, level) for level in range(1, max(levels, default=1) + 1)]
    return np.array(shares)[levels - 1]


def _mean_bounds(
    values: np.ndarray, number: int, alpha: np.ndarray, least_spread: float = 0.0
) -> Intervals:
    count = stats.LOOKS[number]
    counted = values[:, :count]
    spread = np.maximum(counted.std(axis=1, ddof=1), least_spread)
    return Intervals(counted.mean(axis=1), -stdtrit(count - 1, alpha) * spread / count**0.5)


def _state(holds: np.ndarray, contradicted: np.ndarray, otherwise: int = OPEN) -> np.ndarray:
    return np.where(holds, HOLDS, np.where(contradicted, CONTRADICTED, otherwise))


def bench(logs: np.ndarray, took_s: float = 0.0) -> Benched:
    """Benches [candidate, arm, case, generation, round] that stop where `Pace.settled` says so."""
    speedups, controls = logs[:, 0] - logs[:, 1], logs[:, 0] - logs[:, 2]
    state, generations = np.zeros(len(logs), dtype=int), np.zeros(len(logs), dtype=int)
    left = np.arange(len(logs))
    for number in range(PACE.least_generations, PACE.generations + 1):
        some, same = speedups[left, :, :number], controls[left, :, :number]
        widest = np.maximum(interval(some).half, interval(same).half)
        last = number == PACE.generations or took_s >= PACE.long_s
        done = last | (widest <= PACE.enough) | (widest >= PACE.hopeless)
        state[left[done]] = _bench_state(some[done], same[done])
        generations[left[done]] = number
        left = left[~done]
    return Benched(state, generations)


def _bench_state(speedups: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Held where it was quarantined for the machine, else what the three rules say together."""
    found, same = interval(speedups), interval(controls)
    low, high = found.centre - found.half, found.centre + found.half
    off = np.abs(same.centre) - same.half > np.log(CONTROL_MARGIN)
    too_noisy = (low <= 0) & (high >= np.log(PACE.gain))
    least, floor = np.log(POLICY.bench_speedup), np.log(POLICY.case_floor)
    cases = [interval(speedups[:, [case]]) for case in range(speedups.shape[1])]
    worst = np.min([one.centre for one in cases], axis=0)
    hopeless = np.min([one.centre + one.half for one in cases], axis=0) < floor
    states = (
        _state(low >= least, high < least),
        _state(worst >= floor, hopeless),
        np.where(np.abs(np.expm1(same.centre)) <= POLICY.control_within, HOLDS, OPEN),
    )
    return np.where(off | too_noisy, OPEN, np.min(states, axis=0))


def interval(ratios: np.ndarray) -> Intervals:
    """`bench_intervals.speedup` of log ratios [candidate, case, generation, round]."""
    tail = (1 - POLICY.bench_confidence) / 2
    cases, generations, rounds = ratios.shape[1:]
    cut = int(bench_intervals.TRIM * rounds)
    middles = np.sort(ratios, axis=-1)[..., cut : rounds - cut].mean(axis=-1).mean(axis=1)
    error = middles.std(axis=-1, ddof=1) / generations**0.5
    blocks = np.sort(ratios.reshape(len(ratios), cases, generations * rounds), axis=-1)
    half = np.maximum(-stdtrit(generations - 1, tail) * error, _half_of_blocks(blocks, tail))
    return Intervals(middles.mean(axis=-1), half)


def _half_of_blocks(ordered: np.ndarray, tail: float) -> np.ndarray:
    """`stats.geomean_interval` of sorted log ratios [candidate, case, block]."""
    cases, count = ordered.shape[1:]
    cut = int(stats.TRIM * count)
    kept = count - 2 * cut
    winsorised = np.clip(ordered, ordered[..., cut, None], ordered[..., count - cut - 1, None])
    squared = winsorised.var(axis=-1, ddof=1) * (count - 1) / (kept * (kept - 1)) / cases**2
    variance = squared.sum(axis=-1)
    freedom = variance**2 / (squared**2 / (kept - 1)).sum(axis=-1)
    return -stdtrit(freedom, tail) * variance**0.5


# ---- the same through the real gate --------------------------------------------------------------


def disagreement(found: Judged, number: int, world: World) -> str:
    """How the real code judges candidate `number` otherwise; empty if it does not."""
    attempt = int(found.attempts[number])
    first = _tried(found.first, number, attempt, 0)
    evidence = Evidence(verified=VERIFIED, tried=first, calibrated=CALIBRATED, attempt=attempt)
    pairs, generations = len(first.outcome.pairs), 0
    if may_be_confirmed(evidence, POLICY):
        (place,) = np.flatnonzero(found.confirmed == number)
        fresh = _tried(found.fresh, place, 1, 100)
        pairs += len(fresh.outcome.pairs)
        evidence = msgspec.structs.replace(evidence, before=first, tried=fresh, attempt=attempt + 1)
        assert level(evidence, POLICY) == 1
    decision = judge(evidence, POLICY).decision
    if decision != "reject":
        (place,) = np.flatnonzero(found.timed == number)
        outcome, generations = _benched(found.benches[place], world)
        evidence = msgspec.structs.replace(evidence, benched=outcome)
        decision = judge(evidence, POLICY).decision
    real = (decision, pairs, generations)
    bulk = (
        DECISIONS[int(found.decision[number])],
        int(found.pairs[number]),
        int(found.generations[number]),
    )
    return "" if real == bulk else f"candidate {number}: {bulk} in bulk, really {real}"


def _tried(runs: Runs, number: int, attempt: int, seeds: int) -> Tried:
    """Stage 5: looks until one decides."""
    values = zip(*(array[number].tolist() for array in runs), strict=True)
    pairs = [_pair(seeds + n, *value) for n, value in enumerate(values)]
    for count in stats.LOOKS:
        outcome = compared(pairs[:count])
        if ab_settled(outcome, POLICY, attempt):
            break
    return tried(outcome)


def _pair(seed: int, log_speedup: float, bpb_change: float) -> Pair:
    return Pair(
        seed=seed,
        order="AB" if seed % 2 == 0 else "BA",
        incumbent=arm(float(100 * np.exp(log_speedup)), 2.0, INCUMBENT),
        candidate=arm(100.0, 2.0 + bpb_change, CANDIDATE),
    )


def _benched(logs: np.ndarray, world: World) -> tuple[BenchRecord, int]:
    """Stage 4, of log times [arm, case, generation, round]."""
    for number in range(1, PACE.generations + 1):
        times = np.exp(logs[:, :, :number]).reshape(*logs.shape[:2], -1)
        cases = [_timed(CASE_NAMES[case], times[:, case], number) for case in range(logs.shape[1])]
        if PACE.settled(number, cases, world.bench_took_s):
            break
    return benched(outcome=_outcome(cases, PACE)), number


def _timed(case: str, times: np.ndarray, generations: int) -> CaseTiming:
    generation = np.repeat(range(generations), PACE.rounds)
    return msgspec.structs.replace(
        timing(case, *times.tolist()), generation=tuple(generation.tolist())
    )
