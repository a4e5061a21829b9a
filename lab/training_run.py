"""One training run of an A/B: what it is told, and what the judge saw of it.

    argv = command(task, settings, folder, seed, steps, candidate=True)
    with handed_over(plan) as descriptor: ...      sandbox.launch(argv, readable=readable(settings))
    Run(folder=folder, wall_s=..., turn_ms=..., ...)

`lab.arm` starts such runs and times them; nothing is run here. Whether calls are recorded is told
through a pipe, so that no command line tells it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.places import ROOT
from trainer.files import cache_folder
from trainer.recording import Plan


@dataclass(frozen=True)
class Settings:
    """What both arms run. `steps` is fixed beforehand; `eval_tokens` is a rung or a number."""

    preset: str
    data: str
    steps: int
    eval_tokens: str
    registry: Path
    hide: tuple[Path, ...] = ()
    """Folders that neither arm may see: the lab's results, above all."""
    limit_s: float = 1800.0
    """One arm's wall clock, less the time that it was stopped."""
    config: tuple[str, ...] = ()
    """Further flags of train.py, for instance ("--depth", "4")."""
    turns: bool | None = None
    """Whether the arms of a pair take turns (`lab.turns`); None: no."""
    compiled: bool = True
    """Whether the trainer may compile its model, where it would."""


@dataclass(frozen=True)
class Task:
    """The op under test and the stored candidate; the other arm runs what the trainer would."""

    op: str
    engine: str
    candidate: Path
    candidate_sha256: str


class ArmFailed(Exception):
    """The run did not do what it should; the message says what."""

    def __init__(self, message: str, *, candidate: bool) -> None:
        super().__init__(message)
        self.candidate = candidate
        """Whose it was: the candidate's or the incumbent's."""


@dataclass(frozen=True)
class Run:
    """What the judge saw of one training process. CPU time is that of its whole tree."""

    folder: Path
    wall_s: float
    """From spawning it to its end, the other's turns included."""
    turn_ms: tuple[float, ...]
    """From the word to go to the heartbeat of the turn's last step."""
    before_s: float
    """From spawning it to `ready`."""
    before_cpu_s: float
    between_cpu_s: float
    """Used from the end of one turn to the word to go of the next, while it should wait."""
    after_s: float
    """From the last step to its end, less the time that it was stopped."""
    after_cpu_s: float
    ops: dict[str, str]
    """sha256 of every op that it says it used."""


def run_folder(scratch: Path) -> Path:
    """A folder for one run. The run sees its path, which is to tell it neither whether it records
    or is timed, nor where another run lies."""
    return scratch / secrets.token_hex(8)


def command(
    task: Task, settings: Settings, folder: Path, seed: int, steps: int, candidate: bool
) -> list[str]:
    """The command line of train.py; the candidate's file is copied into the run's folder."""
    argv = [
        *(sys.executable, str(ROOT / "train.py"), "--engine", task.engine),
        *("--preset", settings.preset, "--data", settings.data, "--steps", str(steps)),
        *("--seed", str(seed), "--registry", str(settings.registry), "--skip-eval", "--json"),
        *("--checkpoint", str(folder / "checkpoint")),
        *settings.config,
        *(() if settings.compiled else ("--no-compile",)),
    ]
    if candidate:
        copy = shutil.copyfile(task.candidate, folder / "candidate.py")
        argv += ["--op", f"{task.op}={copy}"]
    return argv


def readable(settings: Settings) -> list[Path]:
    """What a run sees of the home folder and of /tmp: the checkout, the data, the promotions."""
    data = Path(settings.data)
    own = [data] if data.is_absolute() else []
    return [ROOT, cache_folder(), settings.registry.parent, *own]


@contextmanager
def handed_over(plan: Plan | None) -> Iterator[int]:
    """A descriptor from which a training process reads its plan; nothing stands in it for None."""
    receive, send = os.pipe()
    try:
        os.write(send, plan.as_json().encode() if plan else b"")
        os.close(send)
        yield receive
    finally:
        os.close(receive)
