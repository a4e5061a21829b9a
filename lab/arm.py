"""One arm of an A/B: a training process in the sandbox, timed by the judge's clock.

`train` starts `train.py`, stamps its heartbeats as they arrive, and returns what the judge saw. See
`lab.ab` for what is made of it. Nothing the process says of its own speed or quality is read.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.harness import sandbox
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
    """One arm's wall clock."""
    config: tuple[str, ...] = ()
    """Further flags of train.py, for instance ("--depth", "4")."""


@dataclass(frozen=True)
class Task:
    """The op under test and the stored candidate; the other arm runs what the trainer would."""

    op: str
    engine: str
    candidate: Path
    candidate_sha256: str


class ArmFailed(Exception):
    """The run did not do what it should; the message says what."""


@dataclass(frozen=True)
class Run:
    """What the judge saw of one training process."""

    folder: Path
    wall_s: float
    """From spawning it to its end."""
    step_ms: float
    """From `ready` to the last step, per step."""
    ops: dict[str, str]
    """sha256 of every op that it says it used."""


def train(
    task: Task,
    settings: Settings,
    folder: Path,
    seed: int,
    steps: int,
    candidate: bool,
    plan: Plan | None = None,
) -> Run:
    """Trains `steps` steps from `seed`; with `candidate`, that op is forced. Raises `ArmFailed`.

    `plan` has calls recorded. Every run is handed one, if only an empty one: its command line does
    not tell whether it records.
    """
    folder.mkdir()
    receive, send = os.pipe()
    beats: list[tuple[str, float]] = []
    listener = threading.Thread(target=_listen, args=(receive, beats), daemon=True)
    started = time.perf_counter()
    with (
        (folder / "stdout").open("wb") as stdout,
        (folder / "stderr").open("wb") as stderr,
        handed_over(plan) as record,
    ):
        argv = _command(task, settings, folder, seed, steps, candidate, send)
        process = sandbox.launch(
            [*argv, "--record", str(record)],
            scratch=folder,
            limits=sandbox.Limits(wall_s=settings.limit_s),
            pass_fds=(send, record),
            hide=settings.hide,
            readable=_readable(settings),
            env={"KERNEL_LAB_CACHE": str(cache_folder())},
            stdout=stdout,
            stderr=stderr,
        )
        os.close(send)
        listener.start()
        try:
            process.wait()
        finally:
            ended = time.perf_counter()
            sandbox.kill_tree(process)
            listener.join(timeout=5)
    if process.why:
        raise ArmFailed(f"stopped by the lab: {process.why} (limit {settings.limit_s:.0f} s)")
    if process.returncode != 0:
        tail = (folder / "stderr").read_text(errors="replace").strip().splitlines()[-4:]
        raise ArmFailed(f"exit code {process.returncode}: {' | '.join(tail)}"[:800])
    return Run(folder, ended - started, _step_ms(beats, steps), _ops(folder / "stdout"))


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


def _command(
    task: Task,
    settings: Settings,
    folder: Path,
    seed: int,
    steps: int,
    candidate: bool,
    heartbeat: int,
) -> list[str]:
    argv = [
        *(sys.executable, str(ROOT / "train.py"), "--engine", task.engine),
        *("--preset", settings.preset, "--data", settings.data, "--steps", str(steps)),
        *("--seed", str(seed), "--registry", str(settings.registry), "--skip-eval", "--json"),
        *("--checkpoint", str(folder / "checkpoint"), "--heartbeat", str(heartbeat)),
        *settings.config,
    ]
    if candidate:
        copy = shutil.copyfile(task.candidate, folder / "candidate.py")
        argv += ["--op", f"{task.op}={copy}"]
    return argv


def _step_ms(beats: Sequence[tuple[str, float]], steps: int) -> float:
    names = [name for name, _ in beats]
    if names[: steps + 1] != ["ready", *(f"step {i}" for i in range(1, steps + 1))]:
        raise ArmFailed(f"expected {steps} heartbeats after 'ready', got {names[-3:]}")
    return (beats[steps][1] - beats[0][1]) * 1000 / steps


def _readable(settings: Settings) -> list[Path]:
    """What an arm sees of the home folder and of /tmp: the checkout, the data, the promotions."""
    data = Path(settings.data)
    return [ROOT, cache_folder(), settings.registry.parent, *([data] if data.exists() else [])]


def _listen(receive: int, beats: list[tuple[str, float]]) -> None:
    """Stamps each line as it arrives; ends when the last writer closes the pipe."""
    with os.fdopen(receive, "rb", buffering=0) as pipe:
        rest = b""
        while chunk := pipe.read(4096):
            now = time.perf_counter()
            *lines, rest = (rest + chunk).split(b"\n")
            beats.extend((line.decode(errors="replace"), now) for line in lines)


def _ops(output: Path) -> dict[str, str]:
    """The op table of the run's report, the last line of its output."""
    lines = output.read_text(errors="replace").strip().splitlines()
    try:
        return {str(n): str(op["sha256"]) for n, op in json.loads(lines[-1])["ops"].items()}
    except (IndexError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArmFailed(f"its last line of output is no report: {error!r}") from error
