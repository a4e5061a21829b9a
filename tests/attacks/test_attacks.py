"""Every attack ends as it says, in real workers in the real sandbox; what gets through is listed.

`kernel-lab self-test` tries the same files. Attacks on the bench need a quiet machine, and so are
tried only there and by `test_bench.py`'s own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from lab.selftest import corpus
from lab.selftest.corpus import Entry
from lab.selftest.trials import Trials, planted_secret

ATTACKS = corpus.attacks()
LEAST = 80
TRIED = sorted((a for a in ATTACKS if a.stage != "bench"), key=lambda a: (a.target, a.stage))
FOLLOWING = dict(zip(TRIED, [*TRIED[1:], None], strict=True))


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    """One arena per target, kept from test to test: a worker takes seconds to start."""
    with planted_secret(), Trials("cpu") as found:
        yield found


@pytest.mark.parametrize("attack", TRIED, ids=[attack.name for attack in TRIED])
def test_an_attack_ends_as_it_says(attack: Entry, trials: Trials) -> None:
    """One that gets through, or is stopped for another reason, means a hole in the harness."""
    trial = trials.run(attack, FOLLOWING[attack])
    if attack.known_hole:
        assert trial.end == "missed", f"closed? Take it out of known_holes.txt: {trial}"
    else:
        assert trial.end == "as expected", f"{trial.met}: {trial.detail}"


def test_the_corpus_is_as_wide_as_promised() -> None:
    """At least 80 attacks, of every category and on every target."""
    assert len(ATTACKS) >= LEAST
    assert {a.category[0] for a in ATTACKS} == set("ABCDEF")
    assert len({a.target for a in ATTACKS}) == 5
    assert Counter(a.stage for a in ATTACKS)["bench"] > 10
    assert all(a.summary.endswith(".") for a in ATTACKS)
