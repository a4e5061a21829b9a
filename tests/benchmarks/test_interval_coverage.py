"""How often the bench's 95% interval holds the truth, and how wide it is beside a plain t interval.

    uv run python tests/benchmarks/test_interval_coverage.py     # the table of docs/gate.md

As tests: fewer trials, and the bounds that `lab.stats` promises. Deterministic by seed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[2])]

from lab import stats  # noqa: E402

Draw = Callable[[np.random.Generator, int], np.ndarray]
TRUTH = math.log(1.1)


def correlated(generator: np.random.Generator, blocks: int) -> np.ndarray:
    """Each block keeps 0.6 of the disturbance of the one before."""
    noise = generator.normal(0, 0.01, blocks)
    for block in range(1, blocks):
        noise[block] += 0.6 * noise[block - 1]
    return noise


NOISES: dict[str, Draw] = {
    "normal 2%": lambda g, n: g.normal(0, 0.02, n),
    "t(3)": lambda g, n: 0.02 * g.standard_t(3, n),
    "Cauchy": lambda g, n: np.clip(0.02 * g.standard_cauchy(n), -50, 50),
    "lognormal": lambda g, n: g.lognormal(-4, 1, n),
    "1%, every tenth block slowed": lambda g, n: (
        g.normal(0, 0.01, n) + g.exponential(0.5, n) * (g.random(n) < 0.1)
    ),
    "two clock states 5% apart": lambda g, n: g.normal(0, 0.003, n) + 0.05 * (g.random(n) < 0.5),
}
BLOCKS = (8, 12, 20, 40)


def plain(logs: np.ndarray) -> tuple[float, float]:
    """The textbook t interval of the same log ratios."""
    bounds = stats.mean_bounds(logs.tolist(), 0.025)
    return bounds.low, bounds.high


def simulate(draw: Draw, blocks: int, trials: int) -> tuple[float, float, float, float]:
    """(coverage, median half width) of ours, then of the plain t interval, in log units."""
    generator = np.random.default_rng(3)
    ours, textbook = [], []
    for _ in range(trials):
        incumbent = np.exp(TRUTH + draw(generator, blocks))
        candidate = np.exp(draw(generator, blocks))
        found = stats.ratio_interval(incumbent.tolist(), candidate.tolist())
        ours.append((math.log(found.low), math.log(found.high)))
        textbook.append(plain(np.log(incumbent / candidate)))
    result = []
    for intervals in (np.array(ours), np.array(textbook)):
        low, high = intervals.T
        result += [float(np.mean((low <= TRUTH) & (high >= TRUTH)))]
        result += [float(np.median(high - low) / 2)]
    return result[0], result[1], result[2], result[3]


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("noise", NOISES)
def test_the_interval_covers_what_it_promises(noise: str, blocks: int) -> None:
    """A 95% interval that holds the truth 80% of the time would let noise through the gate."""
    coverage, *_ = simulate(NOISES[noise], blocks, 400)
    assert coverage >= 0.91


def test_spikes_do_not_widen_the_interval_as_they_widen_the_plain_one() -> None:
    """Why blocks are trimmed at all: on a shared machine a plain t interval decides nothing."""
    _, ours, _, textbook = simulate(NOISES["1%, every tenth block slowed"], 20, 200)
    assert ours < textbook / 3


def table(trials: int) -> None:
    """Prints what docs/gate.md shows."""
    print(f"{trials} trials each; coverage and median half width\n")
    print("| noise of each arm | blocks | ours | plain t |")
    print("|---|---|---|---|")
    for name, draw in [*NOISES.items(), ("neighbours correlated at 0.6", correlated)]:
        for blocks in BLOCKS:
            coverage, width, other, wide = simulate(draw, blocks, trials)
            print(f"| {name} | {blocks} | {coverage:.1%}, {width:.2%} | {other:.1%}, {wide:.2%} |")


if __name__ == "__main__":
    table(4000)
