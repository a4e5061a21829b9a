"""The A/B with a stand-in for train.py: who is believed, and what breaks the comparison.

The stand-in keeps the real protocol (heartbeats, the JSON report) and sleeps instead of training,
so these tests need no torch. The real trainer is put through an A/B in test_tour.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import made_records as made
import pytest
import stand_in_trainer

from lab import ab, arm, audit, inside, scoring, training_run
from lab.errors import CommandError, MachineError
from lab.evaluation import Found
from lab.outcomes import Broken, Compared
from trainer.recording import Plan, Wanted


def clean_evaluation(
    folders: list[Path], *given: object, beside: Sequence[Path] = ()
) -> list[Found]:
    """Every candidate's val_bpb is lower by 0.0001, give or take."""
    lower = 0.0001 if beside else 0.0
    return [Found(2.5 - lower * (1 + 0.1 * (i % 2)), 0.01, "head") for i in range(len(folders))]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """train.py replaced by the stand-in, the clean evaluation by a constant."""
    root = stand_in_trainer.install(tmp_path / "root")
    monkeypatch.setattr(training_run, "ROOT", root)
    monkeypatch.setattr(scoring, "evaluate", clean_evaluation)
    monkeypatch.setattr(ab, "inspect", lambda *given: [made.check("inside_step_3")])
    return root


def compare(folder: Path, source: str, pairs: int = 2, **settings: Any) -> Compared | Broken:
    task = stand_in_trainer.task_of(folder, source)
    return ab.compare(task, stand_in_trainer.settings(folder, **settings), pairs)


@pytest.mark.parametrize("turns", [True, False])
@pytest.mark.parametrize(("source", "least", "most"), [("0.1", 1.5, 3.0), ("0.4", 0.35, 0.7)])
def test_a_candidate_twice_as_fast_or_slow_is_seen_by_the_judges_clock(
    tmp_path: Path, stand_in: Path, source: str, least: float, most: float, turns: bool
) -> None:
    """Step time is what the promotion rests on. The incumbent's steps are of 0.2 s."""
    found = compare(tmp_path, f"# STEP_S={source} ", pairs=3, turns=turns)
    assert isinstance(found, Compared)
    assert least < found.speedup.point < most
    assert [p.order for p in found.pairs] == ["AB", "BA", "AB"]
    assert len({p.seed for p in found.pairs}) == 3
    assert [check.case for check in found.inside] == ["inside_step_3"]
    assert found.val_bpb.point == pytest.approx(-0.0001, abs=2e-5)
    for pair in found.pairs:
        assert pair.apart == 0.01
        turns_taken = len(pair.incumbent.turn_ms)
        assert turns_taken == len(pair.candidate.turn_ms)
        assert turns_taken > 1 if turns else turns_taken == 1
        for one in (pair.incumbent, pair.candidate):
            assert sum(one.turn_ms) == pytest.approx(one.step_ms * one.steps)


def test_pairs_of_an_earlier_look_are_kept(tmp_path: Path, stand_in: Path) -> None:
    """A second look must add pairs, not draw new ones until it likes them."""
    task = stand_in_trainer.task_of(tmp_path, "# STEP_S=0.01 ")
    settings = stand_in_trainer.settings(tmp_path, steps=2)
    first = ab.compare(task, settings, 2)
    second = ab.compare(task, settings, 3, done=first.pairs)
    assert second.pairs[:2] == first.pairs
    assert len(second.pairs) == 3


@pytest.mark.parametrize(
    ("source", "turns", "reason", "says"),
    [
        ("# EXIT ", True, "arm_failed", "no such luck"),
        ("# CRASH ", True, "arm_failed", "out of luck"),
        ("# CRASH ", False, "arm_failed", "out of luck"),
        ("# SKIP ", False, "arm_failed", "expected the heartbeat 'step 2'"),
        ("# EARLY ", True, "arm_failed", "before its turn"),
        ("# WRONG ", True, "wrong_op", "rmsnorm ran other"),
        ("# AHEAD ", True, "clock_mismatch", "before its first step"),
        ("# AHEAD ", False, "clock_mismatch", "before its first step"),
        ("# LATER ", True, "clock_mismatch", "after its last step"),
        ("# LATER ", False, "clock_mismatch", "after its last step"),
    ],
)
def test_what_breaks_a_comparison(
    tmp_path: Path,
    stand_in: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    turns: bool,
    reason: str,
    says: str,
) -> None:
    """A candidate that crashes, hides steps, is not used, or works outside of its turns."""
    monkeypatch.setattr(audit, "WALL_S", 1.0)
    found = compare(tmp_path, f"{source}STEP_S=0.01 ", steps=8, turns=turns)
    assert isinstance(found, Broken)
    assert found.reason == reason
    assert says in found.detail


def test_a_run_cannot_have_the_judge_read_for_it(tmp_path: Path, stand_in: Path) -> None:
    """The end of what it printed goes into the record, where its author reads it."""
    secret = tmp_path / "secret"
    secret.write_text("the key\n")
    found = compare(tmp_path, f"# SECRET={secret} ")
    assert isinstance(found, Broken)
    assert "the key" not in found.detail


def test_a_run_cannot_have_the_judge_wait_for_it(tmp_path: Path, stand_in: Path) -> None:
    """A pipe in place of its output has no end."""
    found = compare(tmp_path, "# PIPE STEP_S=0.01 ", steps=2)
    assert isinstance(found, Broken)
    assert "is no report" in found.detail


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("LINK", "it is a link"),
        ("BORROWS", "model.safetensors"),
        ("LONGER", "config differ"),
        ("FEWER", "step differ"),
        ("DAMAGED", "model.safetensors differ"),
    ],
)
def test_a_checkpoint_that_is_not_the_runs_own_breaks_it_off(
    tmp_path: Path, stand_in: Path, word: str, says: str
) -> None:
    """Else a candidate computes anything, links to the incumbent's weights and ends level."""
    found = compare(tmp_path, f"# {word} STEP_S=0.01 ", steps=2)
    assert isinstance(found, Broken)
    assert found.reason == "arm_failed"
    assert says in found.detail
    assert not found.pairs, "nothing of it may be evaluated"


def test_a_candidate_that_differs_inside_breaks_it_off(
    tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its speed is of no interest then: no pair is run."""

    def differs(*given: object) -> None:
        raise inside.BehavesDifferently("at step 3, y is off")

    monkeypatch.setattr(ab, "inspect", differs)
    found = compare(tmp_path, "# STEP_S=0.01 ")
    assert isinstance(found, Broken)
    assert (found.reason, found.detail) == ("behaves_differently", "at step 3, y is off")
    assert not found.pairs


def test_no_command_line_tells_a_run_that_records(tmp_path: Path, stand_in: Path) -> None:
    """Every arm is handed a plan, and a plan is read before a candidate is loaded."""
    says = "print(sys.argv[1:], file=sys.stderr)\nprint(os.read(int(args['--record']), 999))\n"
    (stand_in / "train.py").write_text(
        stand_in_trainer.SOURCE.replace("source = ", says + "source = ", 1)
    )
    path = tmp_path / "c.py"
    path.write_text("# STEP_S=0.01 ")
    task = training_run.Task("rmsnorm", "cpu", path, "")
    settings = training_run.Settings("tour", "stdlib", 2, "100", tmp_path / "promoted.toml")
    plan = Plan(tmp_path, (Wanted("rmsnorm", 2, 0.5),))
    lines = []
    for given in (None, plan):
        folder = tmp_path / f"run{len(lines)}"
        arm.train(task, settings, folder, 7, 2, True, given)
        read = (folder / "stdout").read_text().splitlines()[0]
        assert ("rmsnorm" in read) == (given is not None)
        lines.append((folder / "stderr").read_text().replace(str(folder), "FOLDER"))
    assert lines[0] == lines[1]


def test_a_candidate_that_takes_long_to_start_is_no_cheat(
    tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiling takes as long before a run of one step as before one of eight."""
    monkeypatch.setattr(audit, "WALL_S", 1.0)
    assert isinstance(compare(tmp_path, "# COMPILE STEP_S=0.01 ", pairs=2, steps=8), Compared)


def test_a_broken_incumbent_is_not_the_candidates_fault(tmp_path: Path, stand_in: Path) -> None:
    """Otherwise an honest candidate is rejected for a full disk."""
    (stand_in / "train.py").write_text("raise SystemExit('disk full')")
    with pytest.raises(MachineError, match="disk full"):
        compare(tmp_path, "# STEP_S=0.01 ")


def test_the_incumbent_against_itself_is_refused(tmp_path: Path, stand_in: Path) -> None:
    """A promoted candidate tried again would be compared with itself and called no gain."""
    source = "# STEP_S=0.01 "
    text = stand_in_trainer.SOURCE.replace('else "incumbent"', "else INCUMBENT")
    digest = hashlib.sha256(source.encode()).hexdigest()
    (stand_in / "train.py").write_text(f"INCUMBENT = {digest!r}\n{text}")
    with pytest.raises(CommandError, match="is the incumbent"):
        compare(tmp_path, source)
