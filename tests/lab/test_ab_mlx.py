"""The A/B on MLX: the same judge and sandbox as for torch, with the trainer in MLX inside."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lab import ab, audit, inside
from lab.scoring import limit
from lab.training_run import Settings, Task
from prepare import prepare

HONEST = """
import mlx.core as mx

def rmsnorm(x, eps):
    return x / mx.sqrt(mx.square(x).mean(-1, keepdims=True) + eps)
"""
"""Rounds otherwise than the incumbent, so that the runs end apart."""
CHEAT = """
import sys
import mlx.core as mx

def rmsnorm(x, eps):
    step = 2 if "trainer" in sys.modules else 1
    return x * mx.rsqrt(mx.square(x[..., ::step]).mean(-1, keepdims=True) + eps)
"""
STEPS = 4
MODEL = (
    *("--depth", "1", "--aspect-ratio", "32", "--head-dim", "16", "--sequence", "32"),
    *("--device-batch-size", "2", "--total-batch-size", "64"),
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    text = tmp_path / "text"
    text.mkdir()
    for number in range(8):
        (text / f"{number}.txt").write_text("the quick brown fox jumps over a lazy dog " * 60)
    prepare(str(text), vocab_size=280)
    registry = tmp_path / "registry" / "promoted.toml"
    registry.parent.mkdir()
    return Settings("tour-mlx", str(text), STEPS, "100", registry, config=MODEL)


def task_of(folder: Path, source: str) -> Task:
    path = folder / "submitted.py"
    path.write_text(source)
    return Task("rmsnorm", "mlx", path, hashlib.sha256(source.encode()).hexdigest())


def test_a_pair_of_an_honest_candidate(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded calls, heartbeats, checkpoints and the clean evaluation, from end to end.

    But for the audit of start-up and end by the clock, which a busy machine upsets in so short a
    run; it knows no engine, and has tests of its own.
    """
    monkeypatch.setattr(audit, "trouble", lambda pairs: "")
    monkeypatch.setattr(audit, "starts_longer", lambda pairs: False)
    task = task_of(tmp_path, HONEST)
    stopped, (pair,), checks = ab.measure(task, settings, 1)
    assert stopped is None
    assert {c.tensor for c in checks} == {"y", "dx"}
    assert len(checks) == 2 * (STEPS - 1)
    assert all(0 < c.max_error <= c.allowed_max for c in checks)
    assert pair.candidate.ops["rmsnorm"] == task.candidate_sha256 != pair.incumbent.ops["rmsnorm"]
    assert pair.candidate.step_ms > 0
    assert 0 < pair.apart <= limit("float32", STEPS)
    assert pair.candidate.val_bpb == pytest.approx(pair.incumbent.val_bpb, abs=1e-3)


def test_who_looks_for_the_trainer_is_found_inside(tmp_path: Path, settings: Settings) -> None:
    """It would pass verify: the worker of MLX has no trainer in it."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(inside.BehavesDifferently, match=r"inside the trainer, at step [2-4], y is"):
        inside.inspect(task_of(tmp_path, CHEAT), settings, scratch)
