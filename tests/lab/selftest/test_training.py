"""How an attack's A/B is judged once it is complete, and where it leaves things."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.outcomes import Arm, Pair
from lab.scoring import Stopped
from lab.selftest import training
from lab.selftest.corpus import Entry
from lab.selftest.training import Course


def entry(folder: Path) -> Entry:
    path = folder / "one.py"
    path.write_text("")
    return Entry("g_training/one", "G training", path, "", "rmsnorm", "ab", ("no_gain",))


def pair(step_ms: float, val_bpb: float) -> Pair:
    """An incumbent of 100 ms and 2.0 bits per byte, and this candidate."""

    def arm(ms: float, bits: float) -> Arm:
        return Arm(step_ms=ms, wall_s=9.0, steps=4, val_bpb=bits, ops={})

    candidate = arm(step_ms, val_bpb)
    return Pair(seed=1, order="AB", incumbent=arm(100.0, 2.0), candidate=candidate, apart=0.01)


@pytest.mark.parametrize(
    ("stopped", "found", "met"),
    [
        (Stopped("wrong_op", "other"), [], "wrong_op"),
        (Stopped("diverged", "NaN"), [pair(100.0, 2.0)], "diverged"),
        (None, [pair(90.0, 2.0)], "no_gain"),
        (None, [pair(40.0, 2.0)], "faster"),
        (None, [pair(40.0, 2.01)], "val_bpb"),
    ],
)
def test_what_an_attack_met(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stopped: Stopped | None,
    found: list[Pair],
    met: str,
) -> None:
    """The reason why it broke off; else what the gate would see first: worse, faster, neither."""

    def measure(task: object, settings: object, pairs: int) -> object:
        assert pairs == 1
        return stopped, tuple(found), ()

    monkeypatch.setattr(training.ab, "measure", measure)
    monkeypatch.setattr(training, "_text", lambda folder: folder)
    cache = os.environ.get("KERNEL_LAB_CACHE")
    course = Course("cpu")
    try:
        assert course.meet(entry(tmp_path))[0] == met
    finally:
        course.close()
    assert os.environ.get("KERNEL_LAB_CACHE") == cache
