"""When a bench stops: by width alone, or a lucky moment would become a gain."""

from __future__ import annotations

import itertools
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.gate import Policy
from lab.harness.pace import ARMS, Pace, orders
from lab.outcomes import CaseTiming, Interval

PACE = Pace()
SHAPE = (1.0, 1.01, 0.99, 1.02, 0.98, 1.005, 0.995, 1.0)


def case(spread: float, control_spread: float = 0.0, gain: float = 1.0) -> CaseTiming:
    """Four generations of eight blocks; `spread` is how far a generation's mean may lie off."""

    def arm(most: float, ratio: float) -> tuple[float, ...]:
        luck = [1 + most * sign for sign in (1, -1, 0.5, -0.5) for _ in SHAPE]
        noise = [1 + 0.001 * (index % 3) for index in range(32)]
        return tuple(t * f * n / ratio for t, f, n in zip(SHAPE * 4, luck, noise, strict=True))

    return CaseTiming(
        case="train",
        dtype="float32",
        calls_per_block=1,
        incumbent_ms=SHAPE * 4,
        candidate_ms=arm(spread, gain),
        control_ms=arm(control_spread, 1.0),
        floor_ms=0.0,
        speedup=Interval(point=1.0, low=1.0, high=1.0, samples=4),
        generation=tuple(number for number in range(4) for _ in SHAPE),
    )


def test_narrow_intervals_stop_a_bench_and_wide_ones_do_not() -> None:
    """Time is spent where there is something left to learn."""
    assert PACE.settled(4, [case(0.001)])
    assert not PACE.settled(4, [case(0.02)])
    assert PACE.settled(4, [case(0.5)]), "nothing that it could still do would help"


def test_a_narrow_interval_beside_a_wide_control_is_luck() -> None:
    """Stopping whenever the candidate's generations happen to agree would cover too little."""
    assert not PACE.settled(4, [case(0.001, control_spread=0.02)])


@given(st.floats(0.2, 5.0), st.floats(0.0, 0.01))
def test_where_the_interval_lies_decides_nothing(gain: float, spread: float) -> None:
    """A bench that stops once it likes the answer promotes noise."""
    assert PACE.settled(4, [case(spread, gain=gain)]) == PACE.settled(4, [case(spread)])


def test_never_before_the_least_and_always_at_the_most() -> None:
    """Two generations agree by luck too often; a bench must end."""
    narrow, wide = case(0.0001), case(0.2)
    assert not any(PACE.settled(number, [narrow]) for number in range(1, PACE.least_generations))
    assert PACE.settled(PACE.generations, [wide])
    one = msgspec.structs.replace(wide, generation=(0,) * 32)
    assert Pace(generations=1).settled(1, [one]), "fewer than the least, where so many are asked"


@pytest.mark.parametrize(
    ("low", "high", "undecided"),
    [(0.99, 1.03, True), (1.001, 1.03, False), (0.97, 1.019, False), (1.5, 2.5, False)],
)
def test_undecided_is_neither_the_gain_asked_nor_its_absence(
    low: float, high: float, undecided: bool
) -> None:
    """Everything else is an answer, however wide."""
    assert PACE.undecided(Interval(point=1.0, low=low, high=high, samples=4)) == undecided


def test_the_gain_asked_is_what_the_gate_promotes() -> None:
    """A bench that answers another question than the gate's leaves it open."""
    assert Policy().bench_speedup == PACE.gain


def test_a_long_bench_makes_the_least_generations() -> None:
    """On a slow machine, or with a candidate that compiles for long, eight take too long."""
    uneven = [case(0.02)]
    assert PACE.settled(4, uneven, took_s=PACE.long_s)
    assert not PACE.settled(4, uneven, took_s=PACE.long_s - 1)
    assert not PACE.settled(3, uneven, took_s=1000.0), "never fewer"


def test_slow_rounds_are_fewer_but_never_too_few() -> None:
    """A case of a second per round must not take ten minutes."""
    assert PACE.rounds_of(0.01) == PACE.rounds
    assert PACE.rounds_of(1.0) == 5
    assert PACE.rounds_of(100.0) == PACE.least_rounds


def test_every_order_of_the_arms_comes_equally_often() -> None:
    """Whoever always runs second runs on a warmer, or slower, machine."""
    found = Counter(itertools.islice(orders(), 24))
    assert set(found) == set(itertools.permutations(ARMS))
    assert set(found.values()) == {4}
    one, other = (list(itertools.islice(orders(), 24)) for _ in range(2))
    assert one != other
