"""Every honest candidate passes: a harness that refuses good work is not strict but wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.selftest import corpus
from lab.selftest.corpus import Entry
from lab.selftest.run import NEEDS_COMPILER
from lab.selftest.trials import Trials

HONEST = corpus.honest()
LEAST = 40
TRIED = [one for one in HONEST if NEEDS_COMPILER not in one.summary]
"""Compilation takes half a minute and a compiler; self-test tries those too."""
FOLLOWING = dict(zip(TRIED, [*TRIED[1:], None], strict=True))


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    """One arena per target, kept from test to test: a worker takes seconds to start."""
    with Trials("cpu") as found:
        yield found


@pytest.mark.parametrize("one", TRIED, ids=[one.name for one in TRIED])
def test_an_honest_candidate_passes(one: Entry, trials: Trials) -> None:
    """In every case, type and gradient, in a real worker in the real sandbox."""
    trial = trials.run(one, FOLLOWING[one])
    assert trial.end == "as expected", f"{trial.met}: {trial.detail}"


def test_the_corpus_is_as_wide_as_promised() -> None:
    """At least 40, for every target several."""
    assert len(HONEST) >= LEAST
    targets = [one.target for one in HONEST]
    assert all(targets.count(target) >= 5 for target in set(targets))
    assert len(set(targets)) == 5
