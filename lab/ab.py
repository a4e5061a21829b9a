"""Stage 5, the A/B: paired training runs, incumbent against candidate, on step time and val_bpb.

A pair is two fresh processes with the same seed, hence the same initial weights and the same
batches; the order alternates (AB, BA, …). The candidate runs inside the trainer, so nothing that
process says about itself decides:

- step time is the judge's clock between two heartbeats, over a fixed number of steps;
- one extra candidate run of a single step audits it: what the whole process took longer must
  account for the steps, or the heartbeats lied;
- val_bpb is computed by a clean process, with the incumbent ops, from the saved checkpoint.

What the run says of its ops is only checked for mistakes: the op under test must have the
candidate's hash. Both arms run in the sandbox, without network and without a view of the ledger.

Not covered: a candidate that tells a short run from a long one by the command line and lies in only
one of them; one that saves a checkpoint other than the model it trained.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import CommandError, MachineError
from lab.harness import sandbox
from lab.places import ROOT
from lab.progress import Progress, silent
from lab.records import Arm, Broken, Compared, Pair
from trainer.files import cache_folder

AUDIT_MARGIN = 1.25
"""Whole-process time may exceed the heartbeats' by this factor, and by AUDIT_SLACK_S."""
AUDIT_SLACK_S = 2.0
"""Two process starts differ by this much on a busy machine (seen here: up to 1.1 s)."""


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


@dataclass
class _Run:
    """What the judge saw of one training process."""

    folder: Path
    started: float = 0.0
    ended: float = 0.0
    beats: list[tuple[str, float]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def wall_s(self) -> float:
        return self.ended - self.started

    def step_ms(self, steps: int) -> float:
        """Judge's clock from `ready` to the last step, per step. Raises `_ArmFailed`."""
        names = [name for name, _ in self.beats]
        if names[: steps + 1] != ["ready", *(f"step {i}" for i in range(1, steps + 1))]:
            raise _ArmFailed(f"expected {steps} heartbeats after 'ready', got {names[-3:]}")
        return (self.beats[steps][1] - self.beats[0][1]) * 1000 / steps


class _ArmFailed(Exception):
    """One arm did not do what it should; the message says what."""


def compare(
    task: Task,
    settings: Settings,
    pairs: int,
    *,
    done: Sequence[Pair] = (),
    progress: Progress = silent,
) -> Compared | Broken:
    """Runs pairs until there are `pairs` of them; `done` are those of an earlier look.

    Raises `MachineError` if the incumbent's arm or the clean evaluation fails: that is no fault of
    the candidate.
    """
    finished = list(done)
    label = f"A/B of {task.op}"
    runs_left = 2 * (pairs - len(finished)) + 1
    with tempfile.TemporaryDirectory(prefix="kernel-lab-ab-") as scratch:
        try:
            for index in range(len(finished), pairs):
                progress(label, 2 * index, 2 * pairs + 1)
                pair = _pair(task, settings, index, Path(scratch), progress)
                finished.append(pair)
            if runs_left > 1:
                _audit(task, settings, finished, Path(scratch))
        except _ArmFailed as failure:
            return Broken(reason="arm_failed", detail=str(failure), pairs=tuple(finished))
        except _WrongOp as failure:
            return Broken(reason="wrong_op", detail=str(failure), pairs=tuple(finished))
        except _ClockMismatch as failure:
            return Broken(reason="clock_mismatch", detail=str(failure), pairs=tuple(finished))
    progress(label, 2 * pairs + 1, 2 * pairs + 1)
    return summarize(settings, finished)


class _WrongOp(Exception):
    """The run did not use the op that it was given."""


class _ClockMismatch(Exception):
    """The heartbeats and the whole process's time cannot both be true."""


def summarize(settings: Settings, pairs: Sequence[Pair]) -> Compared:
    """The intervals of what was measured, recomputed from the raw pairs."""
    from lab.stats import difference_interval, ratio_interval

    return Compared(
        preset=settings.preset,
        data=settings.data,
        eval_tokens=settings.eval_tokens,
        steps=settings.steps,
        pairs=tuple(pairs),
        speedup=ratio_interval(
            [p.incumbent.step_ms for p in pairs], [p.candidate.step_ms for p in pairs]
        ),
        val_bpb=difference_interval([p.candidate.val_bpb - p.incumbent.val_bpb for p in pairs]),
    )


def _pair(task: Task, settings: Settings, index: int, scratch: Path, progress: Progress) -> Pair:
    seed = secrets.randbelow(2**31)
    order = "AB" if index % 2 == 0 else "BA"
    runs: dict[str, _Run] = {}
    for position, arm in enumerate(order):
        folder = scratch / f"pair{index}-{arm}"
        try:
            runs[arm] = _train(task, settings, folder, seed, settings.steps, arm == "B")
        except _ArmFailed as failure:
            if arm == "A":
                raise MachineError(
                    f"the incumbent's training run failed: {failure}",
                    "Run train.py by itself to see why.",
                ) from failure
            raise
        progress(f"A/B of {task.op}", 2 * index + position + 1, 0)
    _check_ops(task, runs["A"], runs["B"])
    val_bpb = evaluate([runs["A"].folder, runs["B"].folder], task.engine, settings)
    arms = [
        Arm(
            step_ms=run.step_ms(settings.steps),
            wall_s=run.wall_s,
            steps=settings.steps,
            val_bpb=bpb,
            ops={name: op["sha256"] for name, op in run.report["ops"].items()},
        )
        for run, bpb in zip((runs["A"], runs["B"]), val_bpb, strict=True)
    ]
    return Pair(
        seed=seed, order="AB" if order == "AB" else "BA", incumbent=arms[0], candidate=arms[1]
    )


def _train(
    task: Task, settings: Settings, folder: Path, seed: int, steps: int, candidate: bool
) -> _Run:
    """One training process in the sandbox, its heartbeats stamped by the judge's clock."""
    folder.mkdir()
    receive, send = os.pipe()
    if candidate:
        shutil.copyfile(task.candidate, folder / "candidate.py")
    argv = [
        *(sys.executable, str(ROOT / "train.py"), "--engine", task.engine),
        *("--preset", settings.preset, "--data", settings.data, "--steps", str(steps)),
        *("--seed", str(seed), "--registry", str(settings.registry), "--skip-eval", "--json"),
        *("--checkpoint", str(folder / "checkpoint"), "--heartbeat", str(send)),
        *settings.config,
    ]
    if candidate:
        argv += ["--op", f"{task.op}={folder / 'candidate.py'}"]
    run = _Run(folder, started=time.perf_counter())
    output = folder / "stdout"
    with output.open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = sandbox.launch(
            argv,
            scratch=folder,
            limits=sandbox.Limits(wall_s=settings.limit_s),
            pass_fds=(send,),
            hide=settings.hide,
            readable=_readable(settings),
            env={"KERNEL_LAB_CACHE": str(cache_folder())},
            stdout=stdout,
            stderr=stderr,
        )
        os.close(send)
        listener = threading.Thread(target=_listen, args=(receive, run.beats), daemon=True)
        listener.start()
        try:
            process.wait()
        finally:
            run.ended = time.perf_counter()
            sandbox.kill_tree(process)
            listener.join(timeout=5)
    if process.why:
        raise _ArmFailed(f"stopped by the lab: {process.why} (limit {settings.limit_s:.0f} s)")
    if process.returncode != 0:
        tail = (folder / "stderr").read_text(errors="replace").strip().splitlines()[-4:]
        raise _ArmFailed(f"exit code {process.returncode}: {' | '.join(tail)}"[:800])
    run.report = _report(output)
    return run


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


def _report(output: Path) -> dict[str, Any]:
    lines = output.read_text(errors="replace").strip().splitlines()
    try:
        report = json.loads(lines[-1])
        if not isinstance(report["ops"], dict):
            raise TypeError("ops is no table")
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise _ArmFailed(f"its last line of output is no report: {error}") from error
    return dict(report)


def _check_ops(task: Task, incumbent: _Run, candidate: _Run) -> None:
    for name, op in candidate.report["ops"].items():
        expected = (
            task.candidate_sha256 if name == task.op else incumbent.report["ops"][name]["sha256"]
        )
        if op["sha256"] != expected:
            raise _WrongOp(f"{name} ran {op['sha256'][:12]}, expected {expected[:12]}")
    used = incumbent.report["ops"][task.op]["sha256"]
    if used == task.candidate_sha256:
        raise CommandError(
            f"the candidate {used[:12]} is the incumbent: nothing to compare",
            f"Change the candidate, or take the promotion back: kernel-lab demote {task.op}",
        )


def _audit(task: Task, settings: Settings, pairs: Sequence[Pair], scratch: Path) -> None:
    """One step only: what N steps take longer by the whole process's clock is N - 1 steps."""
    if settings.steps < 2:
        return
    short = _train(task, settings, scratch / "audit", pairs[-1].seed, 1, True)
    whole = min(p.candidate.wall_s for p in pairs) - short.wall_s
    told = min(p.candidate.step_ms for p in pairs) * (settings.steps - 1) / 1000
    if whole > told * AUDIT_MARGIN + AUDIT_SLACK_S:
        raise _ClockMismatch(
            f"{settings.steps - 1} steps took {whole:.2f} s of the whole process's time, "
            f"but {told:.2f} s by its heartbeats"
        )


def evaluate(folders: Sequence[Path], engine: str, settings: Settings) -> list[float]:
    """val_bpb of each run's checkpoint, by a clean process with the incumbent ops."""
    argv = [sys.executable, "-m", "trainer.evaluate", "--engine", engine, "--data", settings.data]
    for folder in folders:
        argv += ["--checkpoint", str(folder / "checkpoint")]
    flag = "--eval-tokens" if settings.eval_tokens.isdigit() else "--rung"
    argv += [flag, settings.eval_tokens]
    environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)
    if finished.returncode != 0:
        raise MachineError(
            f"the clean evaluation failed: {finished.stderr.strip()[-400:]}",
            "The runs' checkpoints could not be evaluated, so nothing was recorded.",
        )
    results = json.loads(finished.stdout.strip().splitlines()[-1])["results"]
    return [float(result["val_bpb"]) for result in results]
