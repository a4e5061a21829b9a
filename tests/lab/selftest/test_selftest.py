"""The self-test's own judgement: what counts as caught, and that nothing missed can hide."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from kernels.spec import discover
from lab.errors import CommandError
from lab.harness.handicaps import slowed_op
from lab.outcomes import Interval
from lab.selftest import clocks, corpus, trials
from lab.selftest.clocks import TARGET
from lab.selftest.corpus import HONEST, Entry
from lab.selftest.run import chosen, run
from lab.selftest.scorecard import Scorecard, Timed
from lab.selftest.trials import SECRET, Trial, Trials

ATTACK = """{summary}

Target: rmsnorm
Stage: {stage}
Expected: numeric or gradient
Notes: A1
"""


def corpus_of(root: Path, summary: str = "Tries it.", stage: str = "verify") -> Path:
    """A checkout with one attack in it."""
    folder = root / "tests" / "attacks" / "a_replay"
    folder.mkdir(parents=True)
    text = ATTACK.format(summary=summary, stage=stage)
    (folder / "one.py").write_text(f'"""{text}"""\n')
    return root


def trial(**changes: object) -> Trial:
    same = {"name": "a/one", "category": "A replay", "target": "rmsnorm", "stage": "verify"}
    more = {"expected": "numeric", "met": "numeric", "detail": "", "end": "as expected"}
    return Trial(**{**same, **more, **changes})  # type: ignore[arg-type]


def scorecard(*tried: Trial, timed: tuple[Timed, ...] = ()) -> Scorecard:
    return Scorecard(
        harness_sha256="a" * 64,
        hardware="CPU x2",
        isolation="namespaces",
        seconds=1.0,
        trials=tried,
        timed=timed,
    )


def test_an_attack_says_what_it_tries(tmp_path: Path) -> None:
    """The first line is for people, the rest for the scorecard."""
    (found,) = corpus.attacks(corpus_of(tmp_path))
    assert (found.name, found.category) == ("a_replay/one", "A replay")
    assert (found.summary, found.target, found.stage) == ("Tries it.", "rmsnorm", "verify")
    assert found.expected == ("numeric", "gradient")


def test_a_known_hole_keeps_its_reason_and_must_exist(tmp_path: Path) -> None:
    """A hole that was closed, or renamed, must not live on in the list."""
    holes = corpus_of(tmp_path) / "tests" / "attacks" / corpus.KNOWN_HOLES
    holes.write_text("# why\na_replay/one: nobody looks\n")
    assert corpus.attacks(tmp_path)[0].known_hole == "nobody looks"
    holes.write_text("a_replay/other: nobody looks\n")
    with pytest.raises(CommandError, match="a_replay/other"):
        corpus.attacks(tmp_path)


def test_a_stage_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    """A typing error must not make an attack vanish."""
    with pytest.raises(CommandError, match="no stage 'verfy'"):
        corpus.attacks(corpus_of(tmp_path, stage="verfy"))


def test_without_the_checkout_it_says_so(tmp_path: Path) -> None:
    """A wheel has no tests; an empty corpus must not look like a perfect score."""
    with pytest.raises(CommandError, match="no corpus"):
        corpus.attacks(tmp_path)


@pytest.mark.parametrize(
    ("met", "end"),
    [
        ("gradient", "as expected"),
        ("shape", "another reason"),
        ("passed", "missed"),
        ("faster", "missed"),
        ("accepted", "missed"),
        ("lab_error", "missed"),
        ("control_failed", "not run"),
    ],
)
def test_what_counts_as_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, met: str, end: str
) -> None:
    """Only the reason that the attack names; an error of the lab catches nothing."""
    (entry,) = corpus.attacks(corpus_of(tmp_path))
    monkeypatch.setattr(Trials, "_meet", lambda self, entry, following: (met, ""))
    assert Trials("cpu").run(entry).end == end


@pytest.mark.parametrize("met", ["numeric", "lab_error"])
def test_an_honest_candidate_that_is_refused_is_the_harnesss_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, met: str
) -> None:
    """Also where the lab itself failed."""
    entry = Entry("rmsnorm/one", HONEST, tmp_path, "", "rmsnorm", "verify", ("passed",))
    monkeypatch.setattr(Trials, "_meet", lambda self, entry, following: (met, ""))
    assert Trials("cpu").run(entry).end == "falsely rejected"


@pytest.mark.parametrize(
    ("met", "end"),
    [("no_gain", "as expected"), ("faster", "as expected"), ("diverged", "falsely rejected")],
)
def test_every_target_s_candidate_trains_and_may_win(
    monkeypatch: pytest.MonkeyPatch, met: str, end: str
) -> None:
    """Honest as it is, a win is none of an attack, and an A/B that breaks off refuses it."""
    entries = corpus.starting_candidates()
    assert {entry.target for entry in entries} == set(discover())
    assert all(entry.path.is_file() and entry.stage == "ab" for entry in entries)
    monkeypatch.setattr(Trials, "_meet", lambda self, entry, following: (met, ""))
    found = Trials("cpu").run(entries[0])
    assert found.end == end
    assert scorecard(trial(), found).rows()[-1][:2] == ["all attacks", "1"]


@pytest.mark.parametrize("end", ["missed", "another reason", "falsely rejected"])
def test_one_trial_that_ends_otherwise_spoils_the_scorecard(end: str) -> None:
    """And it is named on the page, known or not."""
    bad = trial(name="a/two", end=end, met="passed", known_hole="since ever")
    found = scorecard(trial(), bad)
    assert not found.works
    assert "a/two" in found.markdown()
    assert "since ever" in found.markdown()
    assert scorecard(trial(), trial(end="not run")).works


def test_the_counts_of_a_category_add_up() -> None:
    """What was not run is in a column of its own, and not among what was tried."""
    found = scorecard(trial(), trial(end="missed"), trial(end="not run"))
    assert found.rows()[0] == ["A replay", "2", "1", "0", "1", "0", "1"]
    assert found.rows()[-1] == ["all attacks", "2", "1", "0", "1", "0", "1"]


def test_an_incumbent_that_beats_itself_spoils_the_scorecard() -> None:
    """Then every speed-up is in doubt."""
    interval = Interval(point=1.1, low=1.05, high=1.15, samples=12)
    won = Timed(slowed_percent=0, met="measured", speedup=interval, verdict="FASTER")
    assert not scorecard(trial(), timed=(won,)).works
    assert "FASTER, 1.100x [1.050, 1.150]" in scorecard(trial(), timed=(won,)).markdown()


def test_a_scorecard_is_written_as_it_is_asked_for() -> None:
    """Markdown for docs, JSON for scripts."""
    found = scorecard(trial())
    assert found.file(".md").startswith(b"Harness `aaaaaaaaaaaa`")
    assert msgspec.json.decode(found.file(".json"), type=Scorecard) == found


def test_a_slowed_copy_computes_what_the_incumbent_does() -> None:
    """Slower by what it says, and by nothing else."""
    source = "def muon_orthogonalize(gradient, steps):\n    return (gradient, steps)\n"
    names: dict[str, object] = {}
    exec(slowed_op(source, TARGET, 0.1), names)
    gradient = torch.ones(2)
    for _ in range(8):  # the first calls measure, the later ones wait
        assert names["muon_orthogonalize"](gradient, 2) == (gradient, 2)  # type: ignore[operator]


def test_one_category_can_be_chosen() -> None:
    """By its letter; what is unknown is named with what there is."""
    assert {entry.category for entry in chosen("f", quick=False)} == {"F leaks"}
    assert all(entry.stage not in ("bench", "ab") for entry in chosen(None, quick=True))
    with pytest.raises(CommandError, match="no category 'z'"):
        chosen("z", quick=False)


def test_the_planted_secret_is_gone_afterwards() -> None:
    """It is there for the attacks that look for one."""
    import os

    with trials.planted_secret():
        assert SECRET in os.environ
    assert SECRET not in os.environ


def test_the_slowed_copies_can_be_timed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the part that wants a quiet machine, and the corpus takes an hour."""
    monkeypatch.setattr(clocks, "timed_copies", lambda engine, progress: ("a copy",))
    card = run("cpu", only="copies")
    assert (card.trials, card.timed) == ((), ("a copy",))
