"""Families of values: what kinds of content a case meets, and in which round.

    rounds = deal(takers, random)       for each case and dtype, its rounds in secret order
    values = of_input("outliers", values, random)

A kernel may be right on even normal values and wrong elsewhere: on rows that are constant, where
one channel is far larger than the rest, where most gradients are zero. Each case in each dtype
meets `drawn` (what the target draws) and `spiked` content, and as many of the other families as it
has rounds left; `deal` spreads them, so that every dtype of a target meets every family. Which case
meets which is drawn anew for each verification.

A family changes values only, never shapes, and only where the target allows it: float inputs that
take a scale and do not exclude the family (`Input.without`), in cases without a scale of their own
(these test a magnitude, and a family on top might overflow what is meant to fit).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator

    from kernels.spec import Case

Family = Literal["drawn", "spiked", "large", "tiny", "flat", "outliers", "sparse", "late"]

SPIKE_SHARE, SPIKE = 1 / 256, 8.0
"""In spiked inputs, this share of elements is this much larger. Whoever leaves out 1% of a row of
512 misses a spike in 2% of the rows, and there the mean square is off by a tenth and more."""
OCTAVES = (5.0, 13.0)
"""Large inputs are 2^5 to 2^13 times what is drawn, tiny ones as much smaller. Squares of either
are normal numbers of every float type with eight bits of exponent."""
FLAT_SHARE = 0.5
OUTLIER_CHANNELS = 64
"""One channel in so many is an outlier, as in the residual stream of a trained model."""
OUTLIER_OCTAVES = (3.0, 6.0)
ZEROS = 0.75
ZERO_ROWS = 0.125
LATE_OCTAVES = (10.0, 30.0)
"""Incoming gradients of late training are 2^10 to 2^30 times smaller than unit normal ones. With
a micro-batch of 2^18 tokens a mean loss alone makes them 2^18 times smaller."""
TAIL = 1.5
"""The logarithm of a late gradient's size varies by this much: one in a thousand is 100 times
larger than the median."""


@dataclass(frozen=True)
class Round:
    """One round of a case: its family, and whether gradients are asked for.

    Without, it runs under no_grad, as evaluation does.
    """

    family: Family
    differentiate: bool


# ---- values -------------------------------------------------------------------------------------


def of_input(family: Family, values: np.ndarray, random: Generator) -> np.ndarray:
    """Drawn values of a float input, changed into those of a family."""
    change = OF_INPUTS.get(family)
    return change(values, random) if change else values


def of_gradient(family: Family, values: np.ndarray, random: Generator) -> np.ndarray:
    """Drawn values of an incoming gradient, changed into those of a family."""
    return late(values, random) if family == "late" else values


def spiked(values: np.ndarray, random: Generator) -> np.ndarray:
    """A few random elements, at least one, are made larger: partial work is then far off."""
    count = max(1, round(values.size * SPIKE_SHARE))
    flat = values.reshape(-1).copy()
    flat[random.integers(values.size, size=count)] *= SPIKE
    return flat.reshape(values.shape)


def large(values: np.ndarray, random: Generator) -> np.ndarray:
    """All of it larger, by a secret factor: whoever looks at magnitudes knows none."""
    return values * float(2.0 ** random.uniform(*OCTAVES))


def tiny(values: np.ndarray, random: Generator) -> np.ndarray:
    """All of it smaller, by a secret factor."""
    return values * float(2.0 ** -random.uniform(*OCTAVES))


def flat(values: np.ndarray, random: Generator) -> np.ndarray:
    """Half of the rows, at random, are one number throughout: no variance, no largest element."""
    import numpy as np

    constant = random.random((*values.shape[:-1], 1)) < FLAT_SHARE
    return np.where(constant, values[..., :1], values)


def outliers(values: np.ndarray, random: Generator) -> np.ndarray:
    """A few channels, at least one, are far larger than the others, in every row."""
    width = values.shape[-1]
    channels = random.choice(width, size=-(-width // OUTLIER_CHANNELS), replace=False)
    found = values.copy()
    found[..., channels] *= 2.0 ** random.uniform(*OUTLIER_OCTAVES)
    return found


def sparse(values: np.ndarray, random: Generator) -> np.ndarray:
    """Three quarters of the elements, and some whole rows, are exactly zero."""
    kept = random.random(values.shape) >= ZEROS
    kept &= random.random((*values.shape[:-1], 1)) >= ZERO_ROWS
    return values * kept


def late(values: np.ndarray, random: Generator) -> np.ndarray:
    """Tiny, heavy-tailed, and mostly zero."""
    import numpy as np

    size = np.exp(TAIL * random.standard_normal(values.shape))
    return sparse(values * size, random) * float(2.0 ** -random.uniform(*LATE_OCTAVES))


OF_INPUTS: dict[Family, Callable[[np.ndarray, Generator], np.ndarray]] = {
    "spiked": spiked,
    "large": large,
    "tiny": tiny,
    "flat": flat,
    "outliers": outliers,
    "sparse": sparse,
}
OPEN: tuple[Family, ...] = ("large", "tiny", "flat", "outliers", "sparse", "late")
"""What is dealt to the rounds that a case has left, beside `drawn` and `spiked`."""


# ---- rounds -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taker:
    """One case in one dtype: what it can take."""

    case: Case
    dtype: str
    differentiable: bool
    heavy: bool
    """So large that the oracle's time counts: one round fewer."""
    without: frozenset[str] = frozenset()
    """What the target's inputs do not take."""
    recorded: bool = False
    """A call of training: beside its variations, content is as drawn."""

    def takes(self, family: Family, differentiate: bool) -> bool:
        """Whether content of this family differs here from what is drawn."""
        if family in self.without:
            return False
        if family == "late":
            return differentiate and self.case.gradient_scale == 1.0
        return self.case.scale == 1.0

    def plan(self) -> list[Round | bool]:
        """The rounds that are fixed, and for each that is open whether it has gradients."""
        if self.recorded:
            return [Round("drawn", self.differentiable), Round("drawn", False)]
        if not self.differentiable:
            return [Round("drawn", False), Round("spiked", False), False]
        plan: list[Round | bool] = [Round("drawn", True), Round("spiked", True), False]
        return plan if self.heavy else [*plan, True]


def deal(takers: Sequence[Taker], random: Generator) -> list[tuple[Round, ...]]:
    """The rounds of each taker: as the target draws, so that what is plainly wrong fails for its
    plainest reason, then the others in random order.

    Families come from one queue per dtype; who is dealt goes to its end. So every family is dealt
    before one comes a second time, as far as the cases can take them.
    """
    queues: dict[str, list[Family]] = {}
    dealt: dict[int, tuple[Round, ...]] = {}
    for number in random.permutation(len(takers)):
        taker = takers[number]
        queue = queues.setdefault(taker.dtype, [OPEN[i] for i in random.permutation(len(OPEN))])
        rounds = [
            one if isinstance(one, Round) else Round(_next(queue, taker, one), one)
            for one in taker.plan()
        ]
        later = [rounds[1:][i] for i in random.permutation(len(rounds) - 1)]
        dealt[int(number)] = (rounds[0], *later)
    return [dealt[number] for number in range(len(takers))]


def _next(queue: list[Family], taker: Taker, differentiate: bool) -> Family:
    for family in queue:
        if taker.takes(family, differentiate):
            queue.remove(family)
            queue.append(family)
            return family
    return "drawn"
