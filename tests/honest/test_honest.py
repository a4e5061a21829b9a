"""Every honest candidate passes: a harness that refuses good work is not strict but wrong.

The workers of those in torch live in this process, which starts none; `kernel-lab self-test` tries
the same files in real ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from in_process import verify_in_process

from kernels.spec import discover
from lab.outcomes import Failed, Passed
from lab.selftest import corpus
from lab.selftest.arena import SHAPE
from lab.selftest.corpus import Entry
from lab.selftest.run import NEEDS_COMPILER
from lab.selftest.trials import Trials

HONEST = corpus.honest()
LEAST = 40
TARGETS = discover()
IN_TORCH = [one for one in HONEST if one.language == "torch"]
ELSEWHERE = [one for one in HONEST if one not in IN_TORCH]
TRIED = [one for one in IN_TORCH if NEEDS_COMPILER not in one.summary]
"""Compilation takes half a minute and a compiler; self-test tries those too."""


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    """The incumbent's worker is kept from test to test."""
    with Trials("cpu") as found:
        yield found


@pytest.mark.parametrize("one", TRIED, ids=[one.name for one in TRIED])
def test_an_honest_candidate_passes(one: Entry) -> None:
    """In every case, type and gradient."""
    folder = TARGETS[one.target]
    cases = (*folder.target.odd_cases, *folder.target.train_cases(SHAPE))
    outcome = verify_in_process(one.path, folder, cases, folder.target.dtypes)
    if one.known_hole:
        assert isinstance(outcome, Failed), "mended? Take it out of known_refusals.txt"
    else:
        assert isinstance(outcome, Passed), f"{outcome.reason}: {outcome.detail}"


@pytest.mark.parametrize("one", ELSEWHERE, ids=[one.name for one in ELSEWHERE])
def test_an_honest_candidate_in_another_framework_passes(
    one: Entry, trials: Trials, request: pytest.FixtureRequest
) -> None:
    """In a worker of its own."""
    if one.language == "metal":
        request.getfixturevalue("kept_builds")
    trial = trials.run(one)
    assert trial.end == "as expected", f"{trial.met}: {trial.detail}"


def test_the_honest_corpus_is_as_wide_as_promised() -> None:
    """At least 40, for every target several."""
    assert len(HONEST) >= LEAST
    assert {one.language for one in ELSEWHERE} == {"mlx", "metal"}
    targets = [one.target for one in IN_TORCH]
    assert set(targets) == set(TARGETS)
    assert all(targets.count(target) >= 3 for target in TARGETS)
