"""Recordings are made once, kept, and made again when they are missing, damaged or stale.

The training run is a stand-in that writes the files; the real one is in test_tour.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recorded_files import write_recording

from kernels.spec import discover
from lab import recordings
from lab.context import DEFAULT_VOCAB, Lab
from lab.errors import MachineError
from lab.harness.recording import NotARecording
from lab.places import places
from lab.training_run import ArmFailed
from lab.workspace import Seal
from trainer.config import preset, training_shape
from trainer.recording import Plan

SHAPE = training_shape(preset("tour"), DEFAULT_VOCAB)
TARGETS = {name: discover()[name] for name in ("relu_squared", "rmsnorm")}
"""Two are enough here, and quick to record."""


class Trainer:
    """What stands in for the training run: how often it ran, and what it was told."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.hidden: list[Path] = []
        self.while_running: Callable[[], None] = lambda: None

    def train(self, task: Any, settings: Any, run: Path, *given: Any) -> None:
        plan: Plan = given[-1]
        self.plans.append(plan)
        self.hidden += settings.hide
        self.while_running()
        for op, folder in TARGETS.items():
            path = plan.folder / f"{op}.safetensors"
            write_recording(folder, path, shape=SHAPE, limit_bytes=2**16)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    stand_in = Trainer()
    data = SimpleNamespace(data_sha256="d", tokenizer_sha256="t", vocab=DEFAULT_VOCAB)
    monkeypatch.setattr(recordings, "train", stand_in.train)
    monkeypatch.setattr(recordings, "_targets", lambda engine: TARGETS)
    monkeypatch.setattr(recordings, "_prepared", lambda progress: data)
    return stand_in


@pytest.fixture
def here(tmp_path: Path) -> Lab:
    return Lab(places(tmp_path / "results", registry=tmp_path / "promoted.toml"), "cpu")


def seal(target: str = "rmsnorm") -> Seal:
    hashes = dict.fromkeys(("target_sha256", "harness_sha256", "policy_sha256"), "0" * 64)
    names = {"name": "w", "target": target, "engine": "cpu", "language": "torch", "preset": "tour"}
    return Seal(**names, vocab=DEFAULT_VOCAB, **hashes)


def homes(here: Lab) -> list[Path]:
    return sorted(here.places.recordings.iterdir())


def test_one_run_serves_every_target_and_every_later_verify(here: Lab, trainer: Trainer) -> None:
    """It costs seconds, so it is done once."""
    said: list[str] = []
    first = recordings.provide(here, seal(), lambda label, done, total: said.append(label))
    assert [call.step for call in first.calls] == list(recordings.RECORDED_STEPS)
    assert said == ["recording 9 training steps of tour"] * 2
    for target in TARGETS:
        found = recordings.provide(here, seal(target))
        assert found.about.op == target
    assert recordings.provide(here, seal()).sha256 == first.sha256
    assert len(trainer.plans) == 1
    assert {w.op for w in trainer.plans[0].calls} == set(TARGETS)
    assert len({w.chance for w in trainer.plans[0].calls}) == len(trainer.plans[0].calls)
    assert here.places.results in trainer.hidden
    (home,) = homes(here)
    assert home.name.startswith("tour-cpu-")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "damaged: its hash is another"),
        (lambda file: file.unlink(), "cannot be read"),
        (lambda file: file.with_name("relu_squared.safetensors").replace(file), "damaged"),
        (lambda file: file.with_name("about.json").write_text("{"), "about.json is damaged"),
        (lambda file: file.with_name("about.json").unlink(), "cannot be read"),
    ],
    ids=["torn", "gone", "another op's", "about torn", "about gone"],
)
def test_what_is_damaged_is_made_again_aloud(
    here: Lab, trainer: Trainer, damage: Callable[[Path], Any], says: str
) -> None:
    """A full disk or a curious hand must not decide what verify sees."""
    recordings.provide(here, seal())
    damage(homes(here)[0] / "rmsnorm.safetensors")
    said: list[str] = []
    recordings.provide(here, seal(), lambda label, done, total: said.append(label))
    assert len(trainer.plans) == 2
    assert says in said[0]
    recordings.provide(here, seal())
    assert len(trainer.plans) == 2


def test_another_trainer_data_or_incumbent_makes_it_stale(
    here: Lab, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence from a trainer that nobody runs any more is none."""
    recordings.provide(here, seal())
    key = recordings._key(here, seal(), "d", "t")
    old = homes(here)[0]
    for name in ("trainer", "data", "op relu_squared", "preset"):
        with pytest.raises(NotARecording, match=f"stale: it was made with another {name}"):
            recordings.read(old, {**key, name: "new"}, seal(), DEFAULT_VOCAB)
    monkeypatch.setattr(recordings, "trainer_sha256", lambda: "an edited trainer")
    recordings.provide(here, seal())
    assert len(trainer.plans) == len(homes(here)) == 2


def test_two_at_once_end_with_one_whole_recording(here: Lab, trainer: Trainer) -> None:
    """Two agents verify at the same time; the slower one takes the quicker one's."""

    def the_other() -> None:
        trainer.while_running = lambda: None
        recordings.provide(here, seal())

    trainer.while_running = the_other
    found = recordings.provide(here, seal())
    assert len(trainer.plans) == 2
    assert len(homes(here)) == 1
    assert recordings.provide(here, seal()).sha256 == found.sha256


def test_old_ones_are_removed(here: Lab, trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every edit of the trainer makes one; the disk is not to fill up."""
    for number in range(recordings.KEPT + 2):
        monkeypatch.setattr(recordings, "trainer_sha256", lambda number=number: str(number))
        recordings.provide(here, seal())
    assert len(homes(here)) == recordings.KEPT
    recordings.provide(here, seal())
    assert len(trainer.plans) == recordings.KEPT + 2


def test_a_run_that_fails_blames_the_machine_and_names_the_way_round(
    here: Lab, trainer: Trainer
) -> None:
    """No candidate ran in it."""

    def fails() -> None:
        raise ArmFailed("exit code 3: out of memory", candidate=False)

    trainer.while_running = fails
    with pytest.raises(MachineError, match="out of memory") as failure:
        recordings.provide(here, seal())
    assert "--no-recording" in failure.value.hint
    assert not here.places.recordings.exists()
