"""Every honest candidate passes: a harness that refuses good work is not strict but wrong.

Their workers live in this process, which starts none; `kernel-lab self-test` tries the same files
in real ones.
"""

from __future__ import annotations

import pytest
from in_process import verify_in_process

from kernels.spec import discover
from lab.outcomes import Failed, Passed
from lab.selftest import corpus
from lab.selftest.arena import SHAPE
from lab.selftest.corpus import Entry
from lab.selftest.run import NEEDS_COMPILER

HONEST = corpus.honest()
LEAST = 40
TARGETS = discover()
TRIED = [one for one in HONEST if NEEDS_COMPILER not in one.summary]
"""Compilation takes half a minute and a compiler; self-test tries those too."""


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


def test_the_honest_corpus_is_as_wide_as_promised() -> None:
    """At least 40, for every target several."""
    assert len(HONEST) >= LEAST
    targets = [one.target for one in HONEST]
    assert set(targets) == set(TARGETS)
    assert all(targets.count(target) >= 3 for target in TARGETS)
