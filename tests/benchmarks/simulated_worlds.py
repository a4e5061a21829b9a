"""The worlds of the gate simulation: kinds of candidates and of machines, and draws from them.

A bench has three cases. Each generation of it has three fresh workers, each off by a normal amount
that all its blocks in all cases share, and eight rounds; a block has 2% noise, and one in twenty is
slowed by an exponential 30%. A training run's time per step has the stated noise; the two runs of a
pair share none of it, which is the worst case. Differences of val_bpb have 0.0002 noise (what was
seen on a small CPU model). Arrays are [candidate, ...]; nothing here judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lab.harness.pace import ARMS, Pace
from lab.stats import LOOKS

Noise = Callable[[np.random.Generator, float, tuple[int, ...]], np.ndarray]
CASES, PAIRS = 3, LOOKS[-1]
PACE = Pace()
BLOCK_NOISE, SPIKE, SPIKE_SHARE = 0.02, 0.3, 0.05


def normal(generator: np.random.Generator, noise: float, shape: tuple[int, ...]) -> np.ndarray:
    """Run-to-run noise as textbooks have it."""
    return generator.normal(0, noise, shape)


def spiky(generator: np.random.Generator, noise: float, shape: tuple[int, ...]) -> np.ndarray:
    """Half of it normal; every eighth run is slowed by five times the noise on average."""
    slow = generator.exponential(5 * noise, shape) * (generator.random(shape) < 0.125)
    return generator.normal(0, noise / 2, shape) + slow


def two_clocks(generator: np.random.Generator, noise: float, shape: tuple[int, ...]) -> np.ndarray:
    """Each run finds the processor in one of two clock states, 2 * noise apart."""
    state = generator.random(shape) < 0.5
    return generator.normal(0, noise / 10, shape) + 2 * noise * state


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
    """Standard deviation of one worker; the ratio of two has 1.4 times as much."""
    bench_took_s: float = 0.0
    """What `Pace.settled` is told; 40 and more end a bench after its least generations."""


class Runs(NamedTuple):
    """The pairs of training runs of many A/Bs, each [candidate, pair]."""

    log_speedups: np.ndarray
    bpb_changes: np.ndarray

    def some(self, which: np.ndarray) -> Runs:
        return Runs(self.log_speedups[which], self.bpb_changes[which])


def draw_runs(generator: np.random.Generator, world: World, count: int) -> Runs:
    """All pairs that `count` A/Bs can ever need."""
    shape = (count, PAIRS)
    incumbent = world.shape(generator, world.run_noise, shape)
    candidate = world.shape(generator, world.run_noise, shape)
    return Runs(
        log_speedups=np.log1p(world.step_gain) + incumbent - candidate,
        bpb_changes=generator.normal(world.bpb_change, world.bpb_noise, shape),
    )


def draw_benches(generator: np.random.Generator, world: World, count: int) -> np.ndarray:
    """Log block times [count, arm, case, generation, round], of all generations there can be."""
    shape = (count, len(ARMS), CASES, PACE.generations, PACE.rounds)
    workers = generator.normal(0, world.worker_noise, (count, len(ARMS), 1, PACE.generations, 1))
    slow = generator.exponential(SPIKE, shape) * (generator.random(shape) < SPIKE_SHARE)
    logs = workers + generator.normal(0, BLOCK_NOISE, shape) + np.log1p(slow)
    logs[:, ARMS.index("candidate")] -= np.log1p(world.bench_gain)
    return logs
