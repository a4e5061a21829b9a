"""The A/B with a stand-in for train.py: who is believed, and what breaks the comparison.

The stand-in keeps the real protocol (heartbeats, the JSON report) and sleeps instead of training,
so these tests need no torch. The real trainer is put through an A/B in test_tour.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import made_records as made
import pytest

from lab import ab, arm, inside
from lab.errors import CommandError, MachineError
from lab.records import Broken, Compared
from trainer.recording import Plan, Wanted

TRAINER = """
import hashlib, json, os, sys, time
words = [a for a in sys.argv[1:] if a not in ("--json", "--skip-eval")]
args = dict(zip(words[::2], words[1::2]))
fd, steps = int(args["--heartbeat"]), int(args["--steps"])
source = ""
if "--op" in args:
    source = open(args["--op"].partition("=")[2]).read()
step_s = float(source.partition("STEP_S=")[2].split()[0]) if "STEP_S=" in source else 0.05
sha = hashlib.sha256(source.encode()).hexdigest() if source else "incumbent"
def beat(text):
    os.write(fd, (text + "\\n").encode())
if "EXIT" in source:
    sys.exit("no such luck")
if "LATE" in source:
    time.sleep(0.15 * steps)
beat("ready")
for k in range(1, steps + 1):
    time.sleep(step_s)
    if not ("SKIP" in source and k == 2):
        beat("step %d" % k)
beat("done")
used = "other" if "WRONG" in source else sha
ops = {"rmsnorm": {"sha256": used}, "relu_squared": {"sha256": "r"}}
print(json.dumps({"ops": ops}))
"""


def clean_evaluation(folders: list[Path], *given: object) -> list[float]:
    """Every candidate's val_bpb is lower by 0.0001, give or take."""
    return [2.5 - (0.0001 + 0.00001 * (i // 2 % 2)) * (i % 2) for i in range(len(folders))]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """train.py replaced by the stand-in, the clean evaluation by a constant."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "train.py").write_text(TRAINER)
    monkeypatch.setattr(arm, "ROOT", root)
    monkeypatch.setattr(ab, "evaluate", clean_evaluation)
    monkeypatch.setattr(ab, "AUDIT_SLACK_S", 0.5)
    monkeypatch.setattr(ab, "inspect", lambda *given: [made.check("inside_step_3")])
    return root


def compare(folder: Path, source: str, pairs: int = 2, steps: int = 4) -> Compared | Broken:
    path = folder / "candidate_source.py"
    path.write_text(source)
    digest = hashlib.sha256(source.encode()).hexdigest()
    task = arm.Task("rmsnorm", "cpu", path, digest)
    settings = arm.Settings("tour", "stdlib", steps, "100", folder / "promoted.toml")
    return ab.compare(task, settings, pairs)


def test_a_faster_candidate_is_seen_by_the_judges_clock(tmp_path: Path, stand_in: Path) -> None:
    """Step time is what the promotion rests on."""
    found = compare(tmp_path, "# STEP_S=0.005 ", pairs=3)
    assert isinstance(found, Compared)
    assert found.speedup.point > 1.5
    assert [p.order for p in found.pairs] == ["AB", "BA", "AB"]
    assert len({p.seed for p in found.pairs}) == 3
    assert [check.case for check in found.inside] == ["inside_step_3"]
    assert found.val_bpb.point == pytest.approx(-0.0001, abs=2e-5)


def test_pairs_of_an_earlier_look_are_kept(tmp_path: Path, stand_in: Path) -> None:
    """A second look must add pairs, not draw new ones until it likes them."""
    path = tmp_path / "c.py"
    path.write_text("# STEP_S=0.01 ")
    task = arm.Task("rmsnorm", "cpu", path, hashlib.sha256(path.read_bytes()).hexdigest())
    settings = arm.Settings("tour", "stdlib", 2, "100", tmp_path / "promoted.toml")
    first = ab.compare(task, settings, 2)
    second = ab.compare(task, settings, 3, done=first.pairs)
    assert second.pairs[:2] == first.pairs
    assert len(second.pairs) == 3


@pytest.mark.parametrize(
    ("source", "reason", "says"),
    [
        ("# EXIT ", "arm_failed", "no such luck"),
        ("# SKIP ", "arm_failed", "heartbeats"),
        ("# WRONG ", "wrong_op", "rmsnorm ran other"),
        ("# LATE STEP_S=0.001 ", "clock_mismatch", "of the whole process's time"),
    ],
)
def test_what_breaks_a_comparison(
    tmp_path: Path, stand_in: Path, source: str, reason: str, says: str
) -> None:
    """A candidate that crashes, hides steps, is not used, or works outside the counted time."""
    found = compare(tmp_path, source, steps=8)
    assert isinstance(found, Broken)
    assert found.reason == reason
    assert says in found.detail


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
    (stand_in / "train.py").write_text(TRAINER.replace("source = ", says + "source = ", 1))
    path = tmp_path / "c.py"
    path.write_text("# STEP_S=0.01 ")
    task = arm.Task("rmsnorm", "cpu", path, "")
    settings = arm.Settings("tour", "stdlib", 2, "100", tmp_path / "promoted.toml")
    plan = Plan(tmp_path, (Wanted("rmsnorm", 2, 0.5),))
    lines = []
    for given in (None, plan):
        folder = tmp_path / f"run{len(lines)}"
        arm.train(task, settings, folder, 7, 2, True, given)
        read = (folder / "stdout").read_text().splitlines()[0]
        assert ("rmsnorm" in read) == (given is not None)
        lines.append((folder / "stderr").read_text().replace(str(folder), "FOLDER"))
    assert lines[0] == lines[1]


def test_a_broken_incumbent_is_not_the_candidates_fault(tmp_path: Path, stand_in: Path) -> None:
    """Otherwise an honest candidate is rejected for a full disk."""
    (stand_in / "train.py").write_text("raise SystemExit('disk full')")
    with pytest.raises(MachineError, match="disk full"):
        compare(tmp_path, "# STEP_S=0.01 ")


def test_the_incumbent_against_itself_is_refused(tmp_path: Path, stand_in: Path) -> None:
    """A promoted candidate tried again would be compared with itself and called no gain."""
    (stand_in / "train.py").write_text(TRAINER.replace('else "incumbent"', "else INCUMBENT"))
    source = "# STEP_S=0.01 "
    text = (stand_in / "train.py").read_text()
    digest = hashlib.sha256(source.encode()).hexdigest()
    (stand_in / "train.py").write_text(f"INCUMBENT = {digest!r}\n{text}")
    with pytest.raises(CommandError, match="is the incumbent"):
        compare(tmp_path, source)
