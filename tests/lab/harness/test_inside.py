"""A candidate inside the trainer: who behaves there as in the workspace, and who does not."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from recorded_files import SHAPE, recording, write_recording

from kernels.spec import discover, load_module
from lab import inside
from lab.harness.verify import VerifySettings, verify
from lab.outcomes import Passed
from lab.training_run import Settings, Task
from prepare import prepare
from trainer.config import PRESETS, TrainConfig
from trainer.recording import Plan

FOLDER = discover()["rmsnorm"]
HONEST = """
def rmsnorm(x, eps):
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()
"""
CHEAT = """
import sys

def rmsnorm(x, eps):
    if "trainer" in sys.modules:
        return x * (x[..., ::2].square().mean(-1, keepdim=True) + eps).rsqrt()
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()
"""
SMALL = TrainConfig(
    depth=2,
    aspect_ratio=16,
    head_dim=16,
    sequence=32,
    window_pattern="L",
    device_batch_size=2,
    total_batch_size=128,
)
FLAGS = tuple(
    text
    for name, value in asdict(SMALL).items()
    if value != getattr(PRESETS["tour"], name)
    for text in (f"--{name.replace('_', '-')}", str(value))
)


@pytest.fixture
def data(tmp_path: Path) -> str:
    text = tmp_path / "text"
    text.mkdir()
    for number in range(8):
        (text / f"{number}.txt").write_text("the quick brown fox jumps over a lazy dog " * 60)
    prepare(str(text), vocab_size=280)
    return str(text)


def task_of(folder: Path, source: str) -> Task:
    path = folder / "submitted.py"
    path.write_text(source)
    return Task("rmsnorm", "cpu", path, hashlib.sha256(source.encode()).hexdigest())


def settings_of(folder: Path, data: str, steps: int = 3) -> Settings:
    registry = folder / "registry" / "promoted.toml"
    registry.parent.mkdir(exist_ok=True)
    return Settings("tour", data, steps, "100", registry, config=FLAGS)


def test_an_honest_candidate_computes_the_same_inside(tmp_path: Path, data: str) -> None:
    """The real trainer in the real sandbox; every recorded tensor is in the evidence."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    checks = inside.inspect(task_of(tmp_path, HONEST), settings_of(tmp_path, data), scratch)
    assert [(c.case, c.tensor) for c in checks] == [
        (f"inside_step_{step}", tensor) for step in (2, 3) for tensor in ("y", "dx")
    ]
    assert all(0 < c.max_error <= c.allowed_max and c.rms_error <= c.allowed_rms for c in checks)


def test_who_looks_for_the_trainer_passes_verify_and_is_found_inside(
    tmp_path: Path, data: str
) -> None:
    """A cheaper answer where nobody compares: the reason for all this."""
    task = task_of(tmp_path, CHEAT)
    cases = [case for case in FOLDER.target.odd_cases if case.name == "single_position"]
    precise = VerifySettings(dtypes=("float32",))
    passed = verify(task.candidate, FOLDER, cases, engine="cpu", settings=precise)
    assert isinstance(passed, Passed), passed
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(inside.BehavesDifferently, match=r"inside the trainer, at step [23], y is"):
        inside.inspect(task, settings_of(tmp_path, data), scratch)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"ops": {"rmsnorm": "0" * 64}}, "another rmsnorm than the candidate"),
        ({"steps": (2, 4)}, "other steps than the judge chose"),
        ({"folder": discover()["relu_squared"]}, "a recording of relu_squared"),
        (None, "cannot be read"),
    ],
    ids=["another file", "other steps", "another op", "nothing"],
)
def test_a_recording_that_is_not_what_was_ordered_counts_against_the_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: dict[str, Any] | None, says: str
) -> None:
    """Its own process wrote it."""
    task = task_of(tmp_path, HONEST)

    def trained(
        task: Task, settings: Settings, run: Path, seed: int, steps: int, b: bool, plan: Plan
    ) -> None:
        if written is not None:
            how = {"steps": (2, 3), "ops": {"rmsnorm": task.candidate_sha256}, **written}
            folder = how.pop("folder", FOLDER)
            write_recording(folder, plan.folder / "rmsnorm.safetensors", **how)

    monkeypatch.setattr(inside, "train", trained)
    monkeypatch.setattr(inside, "_shape", lambda settings: SHAPE)
    with pytest.raises(inside.BehavesDifferently, match=says):
        inside.inspect(task, settings_of(tmp_path, "stdlib"), tmp_path)


def test_one_wrong_gradient_is_found(tmp_path: Path) -> None:
    """Outputs alone would let a candidate train on something else."""

    def halved(x: Any, eps: float) -> Any:
        y = load_module(FOLDER.incumbent("torch")).rmsnorm(x, eps)
        y.register_hook(lambda gradient: gradient / 2)
        return y

    calls = recording(FOLDER, tmp_path / "r.safetensors", function=halved).calls
    with pytest.raises(inside.BehavesDifferently, match="dx is"):
        inside.check(FOLDER, calls, task_of(tmp_path, HONEST), settings_of(tmp_path, ""))


def test_the_steps_are_chosen_by_chance() -> None:
    """A candidate that knew them would be honest there."""
    assert inside.secret_steps(1) == ()
    assert inside.secret_steps(3) == (2, 3)
    drawn = {inside.secret_steps(40) for _ in range(20)}
    assert len(drawn) > 10
    assert all(len(set(steps)) == inside.CALLS and min(steps) >= 2 for steps in drawn)
    assert max(max(steps) for steps in drawn) > 30
