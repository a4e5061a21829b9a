"""The step-time ratio of a pair: what one turn may move, and what must never get lost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from made_records import pair, pairs
from msgspec.structs import replace

from lab.gate_ab import of_step_time
from lab.outcomes import Pair
from lab.paired import log_speedups, speedup, speedup_interval, whole_log_speedups
from lab.policy import Policy
from lab.stats import ratio_interval


def with_turns(incumbent: Sequence[float], candidate: Sequence[float], number: int = 0) -> Pair:
    made = pair(number)
    return replace(
        made,
        incumbent=replace(made.incumbent, turn_ms=tuple(incumbent)),
        candidate=replace(made.candidate, turn_ms=tuple(candidate)),
    )


def test_a_machine_that_drifts_moves_no_ratio() -> None:
    """The same slow hours for both arms: 3% stay 3% while the machine's speed halves."""
    drift = [100.0 * 1.08**turn for turn in range(10)]
    found = with_turns([1.03 * ms for ms in drift], drift)
    assert speedup(found) == pytest.approx(1.03)


def test_a_turn_that_another_program_fell_into_is_left_out() -> None:
    """Of ten turns two may be hit on either side before the ratio moves."""
    quiet = [100.0] * 8
    assert speedup(with_turns([*quiet, 300.0, 180.0], [*quiet, 100.0, 100.0])) == 1
    assert speedup(with_turns([*quiet, 100.0, 100.0], [*quiet, 300.0, 180.0])) == 1
    assert speedup(with_turns([100.0] * 7 + [200.0] * 3, [100.0] * 10)) > 1


def test_few_turns_count_by_their_time() -> None:
    """The first turn is a single step, and would else weigh as much as ten."""
    assert speedup(with_turns([20.0, 200.0, 200.0], [10.0, 200.0, 200.0])) == pytest.approx(42 / 41)


def test_without_turns_the_whole_run_is_the_ratio() -> None:
    """Runs one after the other, and records of before there were turns."""
    made = pairs(5)
    expected = [p.incumbent.step_ms / p.candidate.step_ms for p in made]
    assert [math.exp(x) for x in log_speedups(made)] == pytest.approx(expected)
    assert whole_log_speedups(made) == pytest.approx(log_speedups(made))
    plain = ratio_interval([p.incumbent.step_ms for p in made], [p.candidate.step_ms for p in made])
    assert speedup_interval(made).low == pytest.approx(plain.low)


@pytest.mark.parametrize(
    ("incumbent", "candidate"), [([1.0, 2.0], [1.0]), ([1.0, 0.0], [1.0, 1.0]), ([math.nan], [1.0])]
)
def test_turns_that_do_not_match_are_refused(
    incumbent: list[float], candidate: list[float]
) -> None:
    """A ratio of different steps, or of no time at all, would be a number about nothing."""
    with pytest.raises(ValueError, match="block"):
        speedup(with_turns(incumbent, candidate))


def made(last_turn_ms: float) -> list[Pair]:
    """Five pairs of ten turns, nine of them 20% faster with the candidate."""
    return [
        with_turns([120.0 + wiggle] * 10, [100.0] * 9 + [last_turn_ms], number)
        for number, wiggle in enumerate((0.0, 0.3, -0.2, 0.1, -0.1))
    ]


def test_work_put_off_into_a_trimmed_turn_is_no_gain() -> None:
    """A candidate that saves 20 ms in nine turns and spends 200 in the tenth has won nothing."""
    assert of_step_time(made(100.0), Policy(), 1).state == "holds"
    put_off = of_step_time(made(310.0), Policy(), 1)
    assert put_off.state == "open"
    assert "with no turn left out" in put_off.detail
