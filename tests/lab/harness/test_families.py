"""Families of values: what each is, and that every dtype of a target meets every one."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.spec import Case, discover
from lab.harness import families
from lab.harness.checking import CaseChecks
from lab.harness.families import OPEN, Round, Taker, deal
from lab.harness.inputs import draw, generator
from lab.harness.shapes import hidden_cases
from trainer.config import PRESETS, training_shape

ROWS = generator().standard_normal((64, 512))
TARGETS = discover()
every_target = pytest.mark.parametrize("name", TARGETS)


def test_spiked_inputs_have_a_few_large_elements_at_random_places() -> None:
    """Leaving out a part of a sum must show; on even data it hardly does."""
    values = np.ones((64, 512))
    places = [np.flatnonzero(families.spiked(values, generator()) > 1) for _ in range(2)]
    assert 100 < len(places[0]) < 140
    assert not np.array_equal(*places)
    assert float(values.max()) == 1.0, "the drawn values stay as they are"
    assert (families.spiked(np.ones(3), generator()) > 1).any()


def test_large_and_tiny_inputs_are_scaled_by_a_secret_factor() -> None:
    """A kernel that looks at magnitudes finds none that it could know."""
    factors = [families.large(ROWS, generator()) / ROWS for _ in range(2)]
    assert np.ptp(factors[0]) < 1e-9 * factors[0].max()
    assert 2**5 <= factors[0][0, 0] <= 2**13
    assert factors[0][0, 0] != factors[1][0, 0]
    assert 2**-13 <= (families.tiny(ROWS, generator()) / ROWS)[0, 0] <= 2**-5


def test_flat_rows_are_one_number_and_the_others_stay() -> None:
    """Without variance a norm or a softmax divides what it seldom divides."""
    found = families.flat(ROWS, generator())
    constant = np.ptp(found, axis=-1) == 0
    assert 10 < constant.sum() < 54
    assert np.array_equal(found[~constant], ROWS[~constant])


def test_outliers_are_the_same_channels_in_every_row() -> None:
    """As in a trained model's residual stream; and a single channel may be the outlier."""
    ratio = families.outliers(ROWS, generator()) / ROWS
    assert (ratio > 7.9).all(axis=0).sum() == 8
    assert np.isclose(ratio, 1).all(axis=0).sum() == 504
    assert (families.outliers(np.ones((2, 1)), generator()) > 1).all()


def test_late_gradients_are_tiny_heavy_tailed_and_mostly_zero() -> None:
    """An absolute tolerance, or a kernel that skips small gradients, passes anything there."""
    found = families.late(ROWS, generator())
    assert 0.7 < (found == 0).mean() < 0.85
    assert (found == 0).all(axis=-1).any(), "whole rows are zero too"
    size = np.abs(found[found != 0])
    assert np.median(size) < 2**-9
    assert size.max() > 50 * np.median(size)


@pytest.mark.parametrize("family", OPEN)
def test_a_family_changes_content_only_where_the_case_takes_it(family: families.Family) -> None:
    """Tables and classes have a meaning, and a case with a magnitude of its own keeps it."""
    target = TARGETS["rope_qk_norm"].target
    cases = {case.name: case for case in target.odd_cases}
    for name, takes in (("odd_sizes", True), ("large_magnitude", family == "late")):
        plain, changed = (
            draw(target, cases[name], "float32", np.random.default_rng(7), one)
            for one in ("drawn", family)
        )
        same = [bool((a == b).all()) for a, b in zip(plain.inputs, changed.inputs, strict=True)]
        same_gradients = bool((plain.incoming[0] == changed.incoming[0]).all())
        assert same[2:] == [True, True], "cosines and sines"
        # A family draws more numbers, so what is drawn after it differs; the first input tells.
        assert same[0] == (not takes or family == "late")
        if family == "late":
            assert not same_gradients


@every_target
@pytest.mark.parametrize("preset", ["tour", "m5-large"])
def test_every_dtype_of_a_target_meets_every_family(name: str, preset: str) -> None:
    """A family that is only met by luck is one that a lucky candidate never meets."""
    folder = TARGETS[name]
    cases = folder.target.cases(training_shape(PRESETS[preset], vocab=8192))
    cases = (*cases, *hidden_cases(folder.target))
    excluded = {family for one in folder.target.inputs for family in one.without}
    expected = {"drawn", "spiked", *OPEN} - excluded
    if not folder.target.differentiable:
        expected -= {"late"}
    for _ in range(10):
        todo = [
            CaseChecks.of(folder, case, dtype, "cpu").taker
            for case in cases
            for dtype in folder.target.dtypes
        ]
        dealt = deal(todo, generator())
        for dtype in folder.target.dtypes:
            mine = [
                r for t, rounds in zip(todo, dealt, strict=True) for r in rounds if t.dtype == dtype
            ]
            assert {one.family for one in mine} == expected


def test_rounds_differ_from_run_to_run_and_are_always_complete() -> None:
    """Who counts calls must not know which is evaluated, nor on what."""
    taker = Taker(Case("c", {}), "float32", differentiable=True, heavy=False)
    plans = {deal([taker], generator())[0] for _ in range(60)}
    assert len(plans) > 15
    for plan in plans:
        assert len(plan) == 4
        assert plan[0] == Round("drawn", True)
        assert {Round("drawn", True), Round("spiked", True)} <= set(plan)
        assert sum(not one.differentiate for one in plan) == 1
        assert not any(one.family == "late" and not one.differentiate for one in plan)
    (heavy,) = deal([Taker(Case("c", {}), "float32", True, True)], generator())
    assert len(heavy) == 3
