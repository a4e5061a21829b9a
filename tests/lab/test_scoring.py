"""What training runs are worth: whose fault it is where one is worth nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import stand_in_trainer

from lab import scoring
from lab.errors import MachineError
from lab.evaluation import Found, NotEvaluated
from lab.scoring import Stopped, Trained, limit
from lab.training_run import Run


def run(folder: Path, **state: object) -> Run:
    """A run that left a checkpoint behind."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text(json.dumps({"step": 4, **state}))
    for name in ("model", "optimizer"):
        (checkpoint / f"{name}.safetensors").write_bytes(bytes([2, *[0] * 7]) + b"{}")
    return Run(folder, 1.0, (40.0,), 1.0, 1.0, 0.0, 1.0, 1.0, {"rmsnorm": "c" * 64})


def score(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    candidates: Sequence[Found] | str,
    incumbents: Sequence[Found] | str = (Found(2.5), Found(2.6)),
    **state: object,
) -> tuple[Sequence[float], Stopped | None]:
    """Two pairs, the second candidate with this state; the val_bpb that count, and what stopped."""

    def evaluate(folders: object, *given: object, beside: Sequence[Path] = ()) -> Sequence[Found]:
        found = candidates if beside else incumbents
        if isinstance(found, str):
            raise NotEvaluated(found)
        return found

    monkeypatch.setattr(scoring, "evaluate", evaluate)
    trained = [
        Trained(
            seed=number,
            order="AB",
            incumbent=run(folder / f"a{number}"),
            candidate=run(folder / f"b{number}", **(state if number else {})),
        )
        for number in range(2)
    ]
    pairs, stopped = scoring.score(
        trained, "cpu", stand_in_trainer.settings(folder), folder / "scratch"
    )
    return [pair.candidate.val_bpb for pair in pairs], stopped


GOOD = Found(2.4, 0.01, "head", compute_dtype="float32")


def test_runs_that_differ_by_rounding_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both pairs, with the candidate's own val_bpb."""
    for dtype in ("float32", "bfloat16"):
        far = Found(2.5, limit(dtype, 4), "head", compute_dtype=dtype)
        assert score(tmp_path / dtype, monkeypatch, [GOOD, far]) == ([2.4, 2.5], None)


def test_the_longer_the_run_the_further_rounding_leads() -> None:
    """And in a narrower type further; where it may lead anywhere, nothing is refused."""
    assert limit("float32", 2) == limit("float32", 4) == 0.04
    assert limit("float32", 40) == 0.4
    assert limit("bfloat16", 20) == limit("", 20) == 0.8
    assert limit("float32", 101) == limit("bfloat16", 26) == math.inf


@pytest.mark.parametrize(
    ("found", "reason", "says"),
    [
        (Found(math.nan, 0.0, "", ("head", "a", "b", "c")), "diverged", "in head, a, b and 1 more"),
        (Found(2.4, 0.0, "", ("adam.first.head",)), "diverged", "in adam.first.head of"),
        (Found(math.inf, 0.01, "head"), "diverged", "val_bpb of its checkpoint is inf"),
        (
            Found(2.3, 0.9, "muon.key"),
            "trained_differently",
            "muon.key of its checkpoint lies 0.90",
        ),
    ],
)
def test_what_the_candidate_trained_may_be_worth_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Found, reason: str, says: str
) -> None:
    """It is the candidate's fault, with a reason; the other pair is kept."""
    counted, stopped = score(tmp_path, monkeypatch, [GOOD, found])
    assert counted == [2.4]
    assert stopped is not None
    assert stopped.reason == reason
    assert says in stopped.detail


def test_an_evaluation_that_fails_on_the_candidates_alone_is_its_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The incumbent's went through the same process just before."""
    counted, stopped = score(tmp_path, monkeypatch, "timeout: reading")
    assert not counted
    assert stopped is not None
    assert stopped.reason == "not_evaluated"
    assert "timeout: reading" in stopped.detail


def test_an_evaluation_that_fails_on_the_incumbents_is_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the candidate's would fail as well: a full disk fails both."""
    with pytest.raises(MachineError, match="incumbent's checkpoints failed: disk full"):
        score(tmp_path, monkeypatch, "disk full", incumbents="disk full")


def test_a_forged_checkpoint_is_not_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is told even where the rest cannot be evaluated."""
    counted, stopped = score(tmp_path, monkeypatch, [GOOD], [Found(2.5)], step=3)
    assert counted == [2.4]
    assert stopped is not None
    assert (stopped.reason, "step differ" in stopped.detail) == ("arm_failed", True)
    _, stopped = score(tmp_path / "again", monkeypatch, "crash", [Found(2.5)], step=3)
    assert stopped is not None
    assert stopped.reason == "arm_failed"
