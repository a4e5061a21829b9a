"""Checkpoints: whole or absent, exact, and harmless to what is not theirs."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import SMALL, small_data, small_engine, small_stream

from trainer import checkpoint
from trainer.data import Prepared
from trainer.errors import DataError, UsageError
from trainer.loop import Heartbeat, Position, train
from trainer.output import Output
from trainer.run import Session, Settings, run
from trainer.schedule import StepBudget

TENSORS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(2.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def prepared(folder: Path) -> Prepared:
    return small_data(folder)


@pytest.fixture
def settings(folder: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A short run on the small data."""
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(folder / "cache"))
    torch.set_num_threads(1)
    return Settings(
        config=SMALL,
        preset="small",
        data=prepared.name,
        engine="cpu",
        budget=StepBudget(6),
        evaluation=None,
    )


def weights(folder: Path) -> dict[str, np.ndarray]:
    return checkpoint.load_weights(folder) | checkpoint.load_optimizer(folder)


def run_to_step(settings: Settings, folder: Path, step: int) -> None:
    """As Ctrl-C after `step` steps: the run stops early and saves."""
    session = Session(settings)
    session.build()
    session.position = train(
        session.engine,
        session.stream,
        session.config,
        session.budget,
        session.position,
        heartbeat=Heartbeat(),
        should_stop=iter([False] * step + [True]).__next__,
    )
    session.save(folder)


def test_a_resumed_run_ends_with_the_very_same_weights(settings: Settings, tmp_path: Path) -> None:
    """Weights, moments, step count, schedule and place in the data all come back, bit for bit."""
    run(replace(settings, checkpoint=tmp_path / "whole"), Output(quiet=True))
    run_to_step(settings, tmp_path / "part", 4)
    assert checkpoint.load_state(tmp_path / "part")["step"] == 4
    resumed = Settings(
        config=replace(SMALL, depth=1),  # the checkpoint's own configuration counts
        engine="cpu",
        resume=tmp_path / "part",
        checkpoint=tmp_path / "part",
        evaluation=None,
    )
    report = run(resumed, Output(quiet=True))
    assert report is not None
    assert report.position.step == 6
    assert len(report.step_ms) == 2
    whole, part = weights(tmp_path / "whole"), weights(tmp_path / "part")
    assert whole.keys() == part.keys()
    assert all(np.array_equal(whole[name], part[name]) for name in whole)


def test_a_finished_run_has_nothing_left_to_train(settings: Settings, tmp_path: Path) -> None:
    """Resuming it trains no extra step, and a larger budget goes on."""
    run(replace(settings, checkpoint=tmp_path / "done"), Output(quiet=True))
    resumed = replace(settings, resume=tmp_path / "done", budget=None)
    report = run(resumed, Output(quiet=True))
    assert report is not None
    assert (report.position.step, report.step_ms) == (6, ())
    longer = run(replace(resumed, budget=StepBudget(7)), Output(quiet=True))
    assert longer is not None
    assert (longer.position.step, len(longer.step_ms)) == (7, 1)


def test_resuming_on_other_data_is_refused(
    settings: Settings, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The tokens would mean something else to the saved weights."""
    run(replace(settings, budget=StepBudget(1), checkpoint=tmp_path / "one"), Output(quiet=True))
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    state["stream"]["tokenizer_sha256"] = "0" * 64
    (tmp_path / "one" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="tokenizer_sha256"):
        Session(replace(settings, resume=tmp_path / "one"))


def test_nothing_executable_is_in_a_checkpoint(settings: Settings, tmp_path: Path) -> None:
    """Safetensors and JSON only: a checkpoint from somebody else must not be able to run code."""
    run(replace(settings, budget=StepBudget(1), checkpoint=tmp_path / "one"), Output(quiet=True))
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["model.safetensors", "optimizer.safetensors", "state.json"]


def test_tensors_and_state_come_back_exactly(tmp_path: Path) -> None:
    """Views of one storage, as the optimizer's stacks are, are saved each as its own tensor."""
    stack = np.arange(8.0).reshape(2, 2, 2)
    checkpoint.save(tmp_path / "c", {"x": stack[0], "y": stack[1].T}, TENSORS, {"step": 3})
    loaded = checkpoint.load_weights(tmp_path / "c")
    assert np.array_equal(loaded["x"], stack[0])
    assert np.array_equal(loaded["y"], stack[1].T)
    assert np.array_equal(checkpoint.load_optimizer(tmp_path / "c")["a"], TENSORS["a"])
    assert checkpoint.load_state(tmp_path / "c")["step"] == 3


def test_saving_replaces_an_earlier_checkpoint_and_leaves_no_rubbish(tmp_path: Path) -> None:
    """`results/checkpoints/last` is written by every run."""
    for step in (1, 2, 3):
        checkpoint.save(tmp_path / "last", TENSORS, TENSORS, {"step": step})
    assert checkpoint.load_state(tmp_path / "last")["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_folder_that_is_no_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    """`--checkpoint ~` must not cost anyone their home."""
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="no checkpoint"):
        checkpoint.save(tmp_path, TENSORS, TENSORS, {})
    aside = tmp_path / "x.replaced"
    aside.mkdir()
    (aside / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="no checkpoint"):
        checkpoint.save(tmp_path / "x", TENSORS, TENSORS, {})
    assert (tmp_path / "precious.txt").read_text() == (aside / "precious.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told_before_the_training(tmp_path: Path) -> None:
    """Not after it, with nothing to show."""
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot be written"):
        checkpoint.check_target(tmp_path / "new" / "last")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_the_way_is_told_before_the_training(tmp_path: Path, name: str) -> None:
    """In the target's own place or above it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--checkpoint"):
        checkpoint.check_target(tmp_path / name)


def test_a_full_disk_keeps_the_checkpoint_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old checkpoint is replaced only by a complete new one."""
    checkpoint.save(tmp_path / "last", TENSORS, TENSORS, {"step": 1})

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(DataError, match="the disk is full") as caught:
        checkpoint.save(tmp_path / "last", TENSORS, TENSORS, {"step": 2})
    assert "--checkpoint" in caught.value.hint
    assert checkpoint.load_state(tmp_path / "last")["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_save_that_was_killed_while_renaming_loses_nothing(tmp_path: Path) -> None:
    """Between the two renames the earlier checkpoint stands aside."""
    checkpoint.save(tmp_path / "last", TENSORS, TENSORS, {"step": 1})
    (tmp_path / "last").rename(tmp_path / "last.replaced")
    assert checkpoint.load_state(tmp_path / "last")["step"] == 1
    checkpoint.save(tmp_path / "last", TENSORS, TENSORS, {"step": 2})
    assert checkpoint.load_state(tmp_path / "last")["step"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("state.json", checkpoint.load_state),
        ("model.safetensors", checkpoint.load_weights),
        ("optimizer.safetensors", checkpoint.load_optimizer),
    ],
)
def test_a_damaged_checkpoint_is_told_by_name(
    tmp_path: Path, name: str, load: Callable[[Path], Any]
) -> None:
    """Half a file, as a full disk or a broken copy leaves it."""
    checkpoint.save(tmp_path / "c", TENSORS, TENSORS, {"step": 1})
    path = tmp_path / "c" / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match=f"{name} is damaged"):
        load(tmp_path / "c")


def test_a_missing_checkpoint_and_another_models_are_told(
    prepared: Prepared, tmp_path: Path
) -> None:
    """With the names that differ, not with a shape error from inside torch."""
    with pytest.raises(DataError, match="no checkpoint"):
        checkpoint.load_state(tmp_path / "nothing")
    small_engine(prepared).save(tmp_path / "three", {})
    with pytest.raises(DataError, match=r"does not fit: .*layers\.0\.value_gate"):
        small_engine(prepared, replace(SMALL, depth=4, aspect_ratio=9)).load(tmp_path / "three")


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    """A later version's file is not read as if it were this one's."""
    checkpoint.save(tmp_path / "c", TENSORS, TENSORS, {"format": 99})
    with pytest.raises(DataError, match="format 99"):
        checkpoint.load_state(tmp_path / "c")


def test_the_saved_place_in_the_data_is_after_the_last_trained_batch(
    settings: Settings, prepared: Prepared, tmp_path: Path
) -> None:
    """Neither skips text nor trains on it twice."""
    run_to_step(settings, tmp_path / "part", 2)
    stream = small_stream(prepared)
    for _ in range(2 * SMALL.accumulation):
        next(stream)
    assert checkpoint.load_state(tmp_path / "part")["stream"] == json.loads(
        json.dumps(stream.state())
    )
    assert Position(**checkpoint.load_state(tmp_path / "part")["position"]).step == 2
