"""Hidden shapes: cases that TASK.md does not list, drawn anew for every verification.

    cases = hidden_cases(folder.target)

Each dim's extent comes from the target's legal range: the least, a power of two or beside one, a
prime, or anything. Half of the shapes have a dim that is longer than a block of most kernels. All
stay small enough for the float64 oracle to take milliseconds. Needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.harness.inputs import Layout, generator

if TYPE_CHECKING:
    from numpy.random import Generator

    from kernels.spec import Case, Range, Target

HIDDEN = 3
"""Shapes per verification, each in every dtype of the target."""
SLOT_BYTES = 2**20
"""A call of a hidden shape needs no more, in float32."""
FLOPS = 2**27
"""Nor has it more arithmetic: some 0.1 s in float64 on one core."""
LONG = (1025, 4096)
"""The dim that is to be longer than a block has an extent from here."""
LONG_SHARE = 0.5
MOST_DRAWS = 10_000


def hidden_cases(target: Target, count: int = HIDDEN) -> tuple[Case, ...]:
    """So many hidden cases, no two the same; none for a target without ranges."""
    random = generator()
    found: dict[str, Case] = {}
    while target.ranges and len(found) < count:
        case = hidden(target, random)
        found[case.name] = case
    return tuple(found.values())


def hidden(target: Target, random: Generator) -> Case:
    """One hidden case. Raises `ValueError` if the ranges hold nothing small enough."""
    from kernels.spec import Case

    axes = {axis for one in target.inputs for axis in one.shape}
    long_ones = [n for n, allowed in target.ranges.items() if n in axes and allowed.most >= LONG[0]]
    for _ in range(MOST_DRAWS):
        dims = {name: _extent(allowed, random) for name, allowed in target.ranges.items()}
        if long_ones and random.random() < LONG_SHARE:
            name = long_ones[random.integers(len(long_ones))]
            dims[name] = _legal(int(random.integers(*LONG)), target.ranges[name])
        case = Case(
            "hidden_" + "x".join(map(str, dims.values())),
            target.complete(dims),
            purpose="hidden",
            layout="strided" if random.random() < 1 / 3 else "contiguous",
        )
        if _small(target, case):
            return case
    raise ValueError(f"no shape of at most {SLOT_BYTES} bytes within {dict(target.ranges)}")


def _small(target: Target, case: Case) -> bool:
    if target.cost(case.dims, 4).flops > FLOPS:
        return False
    return Layout.of(target, case, "float32").slot_bytes <= SLOT_BYTES


def _extent(allowed: Range, random: Generator) -> int:
    """An extent of a random kind; small ones are as likely as large ones."""
    least = max(allowed.least, 1)
    anything = int(least * (LONG[1] / least) ** random.random())
    power = 2 ** (anything.bit_length() - 1)
    kinds = (allowed.least, power, power - 1, power + 1, _prime(anything), anything)
    return _legal(kinds[random.integers(len(kinds))], allowed)


def _legal(extent: int, allowed: Range) -> int:
    """The nearest legal extent that is no larger, or else the least."""
    extent = min(extent, allowed.most)
    return max(allowed.least, extent - extent % allowed.multiple)


def _prime(most: int) -> int:
    """The largest prime up to `most`, or 2."""
    for number in range(most, 2, -1):
        if all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
            return number
    return 2
