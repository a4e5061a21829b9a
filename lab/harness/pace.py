"""How long a bench measures, in which order, and when it may stop.

Rounds come in generations: three fresh workers each, that share nothing with the ones before. After
each generation from `least_generations` on, `settled` looks at the time spent and at how wide the
intervals are, never at where they lie: a bench that stops once it likes the answer would promote
noise. The control's interval has to be narrow too. One interval may be narrow by luck, and a bench
that stops at such a moment covers less than it says; two rarely are. Simulated, 95% intervals hold
the truth 94.7 to 97.8% of the time (tests/benchmarks/test_generation_coverage.py).

Nothing here reads a clock or knows a worker.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.outcomes import CaseTiming, Interval

ARMS = ("incumbent", "candidate", "control")
WARM_UP_ROUNDS = 2
"""Of every generation; they count for nothing."""


@dataclass(frozen=True)
class Pace:
    """How long to measure. A block should be far longer than a wake-up of a process (0.1 ms)."""

    block_ms: float = 30.0
    most_slots: int = 512
    rounds: int = 8
    """Per generation and case."""
    least_rounds: int = 4
    budget_s: float = 40.0
    """Per case; fewer rounds, but never fewer than `least_rounds`, where they take longer. A round
    of the smallest op takes 0.5 s, most of it to write inputs and to read and poison results."""
    generations: int = 8
    """At most. Starting one takes 2 to 4 s on two cores, its eight rounds about 2 s."""
    least_generations: int = 4
    long_s: float = 40.0
    """Once a bench has taken so long, the least generations are enough."""
    enough: float = 0.0075
    """Half the interval's width, as a share of the ratio, at which the bench stops: a gain of 3%
    then reaches the gate's 2%."""
    hopeless: float = 0.4
    """Half the width at which it stops too: twice the generations at most halve it, which would not
    tell a gain of 20% from none."""
    gain: float = 1.02
    """The least gain asked: what the gate promotes. A bench that can tell neither it nor its
    absence is refused as too noisy."""

    def rounds_of(self, round_s: float) -> int:
        """Rounds per generation of a case whose warm-up rounds take so long."""
        affordable = int(self.budget_s / self.generations / max(round_s, 1e-6))
        return max(self.least_rounds, min(self.rounds, affordable))

    def settled(self, generations: int, cases: Sequence[CaseTiming], took_s: float = 0.0) -> bool:
        """Whether the bench may stop after so many generations and seconds."""
        from lab.bench_intervals import control, half_width, speedup

        if not self.least_generations <= generations < self.generations:
            return generations >= self.generations
        if took_s >= self.long_s:
            return True
        widest = max(half_width(speedup(cases)), half_width(control(cases)))
        return not self.enough < widest < self.hopeless

    def undecided(self, found: Interval) -> bool:
        """Whether an interval holds both no gain and the least gain asked."""
        return found.low <= 1 and found.high >= self.gain


def orders() -> Iterator[tuple[str, ...]]:
    """A random order of the arms for each round, without end; all six, then all six again."""
    every = list(itertools.permutations(ARMS))
    while True:
        random.SystemRandom().shuffle(every)
        yield from every
