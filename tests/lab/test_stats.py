"""If the intervals were wrong, users would see gains that are not there, or miss real ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from lab import stats

TIMES = st.lists(st.floats(0.1, 10.0), min_size=2, max_size=40, unique=True)


def test_ratio_interval_of_few_blocks_is_the_textbook_t_interval() -> None:
    """Below eight blocks nothing is trimmed; a wrong formula would show against scipy's."""
    incumbent = [2.0, 2.2, 2.1, 2.3, 2.05]
    candidate = [1.0, 1.05, 1.1, 1.0, 1.02]
    logs = np.log(incumbent) - np.log(candidate)
    expected = reference.t.interval(0.95, 4, logs.mean(), reference.sem(logs))
    found = stats.ratio_interval(incumbent, candidate)
    assert (found.low, found.high) == pytest.approx(np.exp(expected), rel=1e-12)
    assert found.point == pytest.approx(math.exp(logs.mean()))
    assert found.samples == 5


def test_ratio_interval_of_many_blocks_is_yuens() -> None:
    """With eight or more blocks: trimmed mean and winsorised variance as scipy computes them."""
    generator = np.random.default_rng(5)
    incumbent = generator.lognormal(0.3, 0.1, 20)
    candidate = generator.lognormal(0.0, 0.1, 20)
    logs = np.log(incumbent) - np.log(candidate)
    found = stats.ratio_interval(incumbent.tolist(), candidate.tolist())
    assert found.point == pytest.approx(math.exp(reference.trim_mean(logs, 0.2)))
    winsorised = reference.mstats.winsorize(logs, (0.2, 0.2))
    kept = 12
    error = np.std(winsorised, ddof=1) * math.sqrt(19 / (kept * (kept - 1)))
    half = error * reference.t.ppf(0.975, kept - 1)
    assert math.log(found.high / found.point) == pytest.approx(half)
    assert math.log(found.point / found.low) == pytest.approx(half)


@given(TIMES, st.floats(0.5, 2.0))
def test_a_uniformly_faster_candidate_moves_the_interval_by_just_that(
    times: list[float], factor: float
) -> None:
    """Halving every candidate time must double the speed-up and its bounds."""
    incumbent = [t * (1 + 0.01 * n) for n, t in enumerate(times)]
    before = stats.ratio_interval(incumbent, times)
    after = stats.ratio_interval(incumbent, [t / factor for t in times])
    for name in ("low", "point", "high"):
        assert getattr(after, name) == pytest.approx(getattr(before, name) * factor, rel=1e-6)


def test_one_absurd_block_does_not_decide() -> None:
    """A block during which the machine slept must neither make nor break a gain."""
    incumbent = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01, 0.99, 1.0]
    candidate = [0.8, 0.81, 0.79, 0.8, 0.82, 0.8, 0.81, 0.79, 0.8, 60.0]
    found = stats.ratio_interval(incumbent, candidate)
    assert found.low > 1.15
    assert found.high < 1.35


def test_geomean_weighs_cases_equally_and_of_one_case_is_that_case() -> None:
    """One huge ratio on a case with many blocks must not drown the others."""
    generator = np.random.default_rng(1)
    fast = (generator.lognormal(math.log(4), 0.01, 30), generator.lognormal(0, 0.01, 30))
    same = (generator.lognormal(0, 0.01, 8), generator.lognormal(0, 0.01, 8))
    both = stats.geomean_interval([fast, same])
    assert both.point == pytest.approx(2.0, rel=0.02)
    assert both.samples == 8
    alone = stats.geomean_interval([same])
    single = stats.ratio_interval(*same)
    assert (alone.low, alone.high) == pytest.approx((single.low, single.high))


@pytest.mark.parametrize(
    ("incumbent", "candidate", "match"),
    [
        ([1.0, 2.0], [1.0], "no pairs"),
        ([1.0], [1.0], "at least two"),
        ([1.0, float("nan")], [1.0, 1.0], "incumbent: time nan of block 1"),
        ([1.0, 2.0], [1.0, 0.0], r"candidate: time 0\.0 of block 1"),
        ([1.0, 2.0], [1.0, -3.0], "no finite time above 0"),
        ([1.0, 2.0], [1.0, float("inf")], "candidate: time inf"),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], "clock is too coarse"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "flat sequence"),
    ],
)
def test_times_that_carry_no_interval_are_refused(
    incumbent: list[float], candidate: list[float], match: str
) -> None:
    """A NaN that slips through would compare false with every threshold."""
    with pytest.raises(ValueError, match=match):
        stats.ratio_interval(incumbent, candidate)


def test_geomean_names_the_case_that_is_at_fault() -> None:
    """With thirty cases, "block 3 is zero" alone would not help."""
    good = ([1.0, 1.1, 1.2], [1.0, 1.0, 1.1])
    with pytest.raises(ValueError, match=r"case 1: .*block 2"):
        stats.geomean_interval([good, ([1.0, 1.0, 0.0], [1.0, 1.1, 1.0])])
    with pytest.raises(ValueError, match="no cases"):
        stats.geomean_interval([])
    with pytest.raises(ValueError, match="confidence"):
        stats.geomean_interval([good], confidence=1.5)


def test_differences_of_runs_that_agree_bit_for_bit_are_exactly_zero() -> None:
    """A candidate with the incumbent's very rounding gives equal val_bpb: the best there is."""
    found = stats.difference_interval([0.0, 0.0, 0.0])
    assert (found.point, found.low, found.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="independent measurements have spread"):
        stats.difference_interval([0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match="not a finite number"):
        stats.difference_interval([0.1, math.nan])


def test_difference_interval_is_the_textbook_t_interval() -> None:
    """val_bpb differences are few and never trimmed: one bad seed is real harm."""
    values = [0.001, -0.0005, 0.002, 0.0]
    expected = reference.t.interval(0.9, 3, np.mean(values), reference.sem(values))
    found = stats.difference_interval(values, 0.9)
    assert (found.low, found.high) == pytest.approx(expected)


def test_the_looks_never_spend_more_than_the_whole_error() -> None:
    """Otherwise "at most 1% of null kernels" would be false on paper already."""
    first = sum(stats.spend(stats.STEP_ALPHA, number) for number in range(3))
    assert first == pytest.approx(stats.STEP_ALPHA * stats.attempt_share(1))
    spent = [stats.spend(0.01, n, attempt) for n in range(3) for attempt in range(1, 2000)]
    assert 0.99 * 0.01 < sum(spent) < 0.01
    assert min(spent) > 0


def test_each_further_attempt_may_spend_less_but_never_nothing() -> None:
    """The tenth try on a target needs stronger evidence than the first, and can have it."""
    shares = [stats.attempt_share(attempt) for attempt in range(1, 40)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] / shares[9] == pytest.approx(100)


def test_looks_are_complete_only_with_all_their_pairs() -> None:
    """Four pairs are a look of three, or a user could stop whenever the numbers please."""
    assert [stats.look_number(n) for n in (0, 2, 3, 4, 5, 7, 8, 20)] == [
        *(None, None, 0, 0, 1, 1, 2, 2)
    ]
    with pytest.raises(ValueError, match="takes 5 pairs, not 4"):
        stats.look([0.1] * 4, 1)
    with pytest.raises(ValueError, match="look 3 is unknown"):
        stats.look([0.1] * 8, 3)
    with pytest.raises(ValueError, match="attempts count from 1"):
        stats.look([0.1] * 3, 0, attempt=0)


def test_a_look_says_faster_slower_or_undecided() -> None:
    """The driver stops on the first two and goes on with the third."""
    assert stats.look([0.14, 0.15, 0.15], 0).decision == "faster"
    assert stats.look([-0.14, -0.15, -0.15], 0).decision == "slower"
    assert stats.look([0.05, -0.04, 0.01], 0).decision == "undecided"
    faster = stats.look([0.03, 0.031, 0.029, 0.03, 0.03], 1)
    assert faster.low > 1
    assert faster.pairs == 5


def test_pairs_that_agree_by_luck_are_not_believed_beyond_the_floor() -> None:
    """On a machine with two clock states, three pairs can agree to a digit and mean nothing."""
    assert stats.look([0.1300, 0.1300, 0.1301], 0).decision == "undecided"
    assert stats.look([0.1420, 0.1420, 0.1421], 0).decision == "faster"
    assert stats.look([0.0130] * 5, 1).decision == "undecided"
    assert stats.look([0.0140] * 5, 1).decision == "faster"
    assert stats.look([0.0033] * 8, 2).decision == "undecided"
    assert stats.look([0.0036] * 8, 2).decision == "faster"


def test_a_repeated_comparison_must_show_more() -> None:
    """Who runs an A/B until it passes must not get there by patience."""
    values = [0.10, 0.09, 0.11]
    bounds = [stats.look(values, 0, attempt).low for attempt in (1, 2, 3)]
    assert bounds[0] > bounds[1] > bounds[2]


@pytest.mark.parametrize("blocks", [8, 20])
@pytest.mark.parametrize("noise", ["normal", "spiky", "lognormal"])
def test_the_95_percent_interval_covers_the_truth(blocks: int, noise: str) -> None:
    """Coverage far from 95% would make every quoted interval a fiction. 600 simulated benches."""
    generator = np.random.default_rng(11)
    draw = {
        "normal": lambda: generator.normal(0, 0.02, blocks),
        "spiky": lambda: (
            generator.normal(0, 0.01, blocks)
            + generator.exponential(0.5, blocks) * (generator.random(blocks) < 0.1)
        ),
        "lognormal": lambda: generator.lognormal(-4, 1, blocks),
    }[noise]
    hits = 0
    for _ in range(600):
        found = stats.ratio_interval(np.exp(0.1 + draw()), np.exp(draw()))
        hits += found.low <= math.exp(0.1) <= found.high
    assert 0.92 <= hits / 600 <= 0.99
