"""Every attack ends as it says, and what gets through is listed.

`kernel-lab self-test` tries all of them in real workers. Here, attacks that only compute less
(category C) share this process, which starts none, attacks on the bench are left out, as they need
a quiet machine, and of those on the A/B, which take up to a minute each, a few stand for the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from in_process import verify_in_process

from kernels.spec import discover
from lab.outcomes import Failed, Passed
from lab.selftest import corpus
from lab.selftest.corpus import Entry
from lab.selftest.trials import Trials, planted_secret

ATTACKS = corpus.attacks()
LEAST = 80
TARGETS = discover()
SHORT_CUTS = [a for a in ATTACKS if a.category.startswith("C") and a.language == "torch"]
UNTIMED = [a for a in ATTACKS if a.stage not in ("bench", "ab") and a not in SHORT_CUTS]
CONFINED = sorted(UNTIMED, key=lambda a: (a.target, a.language, a.stage))
IN_TRAINING = [
    f"g_training/{name}"
    for name in (
        "checkpoint_of_another_version",
        "leaves_out_the_last_step",
        "not_a_number_in_the_weights",
    )
]
FOLLOWING = dict(zip(CONFINED, [*CONFINED[1:], None], strict=True))


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    """One arena per target, kept from test to test: a worker takes seconds to start."""
    with planted_secret(), Trials("cpu") as found:
        yield found


@pytest.mark.parametrize("attack", CONFINED, ids=[attack.name for attack in CONFINED])
def test_an_attack_ends_as_it_says(
    attack: Entry, trials: Trials, request: pytest.FixtureRequest
) -> None:
    """In a real worker. One that gets through, or ends for another reason, means a hole."""
    if attack.language == "metal":
        request.getfixturevalue("kept_builds")
    trial = trials.run(attack, FOLLOWING[attack])
    if attack.known_hole:
        assert trial.end == "missed", f"closed? Take it out of known_holes.txt: {trial}"
    else:
        assert trial.end == "as expected", f"{trial.met}: {trial.detail}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", IN_TRAINING)
def test_an_attack_on_the_trainer_is_refused(name: str, trials: Trials) -> None:
    """In a real A/B, each for a reason that only the clean evaluation can tell."""
    (attack,) = [attack for attack in ATTACKS if attack.name == name]
    trial = trials.run(attack)
    assert trial.end == "as expected", f"{trial.met}: {trial.detail}"


@pytest.mark.parametrize("attack", SHORT_CUTS, ids=[attack.name for attack in SHORT_CUTS])
def test_a_short_cut_is_refused_for_its_own_reason(attack: Entry) -> None:
    """Less work, less precision, another form or gradient: a matter of the checks alone."""
    folder = TARGETS[attack.target]
    cases = folder.target.odd_cases
    outcome = verify_in_process(attack.path, folder, cases, folder.target.dtypes)
    if attack.known_hole:
        assert isinstance(outcome, Passed), f"closed? Take it out of known_holes.txt: {outcome}"
        return
    assert isinstance(outcome, Failed), "it passed"
    assert outcome.reason in attack.expected, outcome.detail


def test_the_corpus_of_attacks_is_as_wide_as_promised() -> None:
    """At least 80, of every category and on every target."""
    assert len(ATTACKS) >= LEAST
    assert {a.category[0] for a in ATTACKS} == set("ABCDEFG")
    assert {a.target for a in ATTACKS} == set(TARGETS)
    stages = Counter(a.stage for a in ATTACKS)
    assert stages["bench"] > 10
    assert stages["ab"] > 30
    languages = Counter(a.language for a in ATTACKS)
    assert languages["mlx"] > 10
    assert languages["metal"] > 15
    assert all(a.summary.endswith(".") for a in ATTACKS)
