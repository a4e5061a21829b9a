"""Stage 5, the A/B: paired training runs, incumbent against candidate, on step time and val_bpb.

A pair is two fresh processes with the same seed, hence the same initial weights and the same
batches; the order alternates (AB, BA, …). The candidate runs inside the trainer, so nothing that
process says about itself decides:

- step time is the judge's clock between two heartbeats, over a fixed number of steps;
- one extra candidate run of a single step audits it: what the whole process took longer must
  account for the steps, or the heartbeats lied;
- val_bpb is computed by a clean process, with the incumbent ops, from the saved checkpoint;
- a run that is not timed records calls of the op at secret steps, and the judge checks what the
  candidate made of them (`lab.inside`).

What the run says of its ops is only checked for mistakes: the op under test must have the
candidate's hash. Both arms run in the sandbox, without network and without a view of the ledger.

Not covered: a candidate that tells a short run from a long one by the command line and lies in only
one of them; one that saves a checkpoint other than the model it trained.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.arm import ArmFailed, Run, Settings, Task, train
from lab.errors import CommandError, MachineError
from lab.inside import BehavesDifferently, inspect
from lab.places import ROOT
from lab.progress import Progress, silent
from lab.records import Arm, Broken, Compared, Pair, TensorCheck

AUDIT_MARGIN = 1.25
"""Whole-process time may exceed the heartbeats' by this factor, and by AUDIT_SLACK_S."""
AUDIT_SLACK_S = 2.0
"""Two process starts differ by this much on a busy machine (seen here: up to 1.1 s)."""


class _Stopped(Exception):
    """The comparison cannot go on, through the candidate's doing."""

    def __init__(
        self,
        reason: Literal["arm_failed", "wrong_op", "clock_mismatch", "behaves_differently"],
        detail: str,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class _Trained:
    """Both runs of a pair, not evaluated yet."""

    seed: int
    order: Literal["AB", "BA"]
    incumbent: Run
    candidate: Run


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
    trained: list[_Trained] = []
    stopped: _Stopped | None = None
    inside: Sequence[TensorCheck] = ()
    label, total = f"A/B of {task.op}", 2 * (pairs - len(done)) + 2
    with tempfile.TemporaryDirectory(prefix="kernel-lab-ab-") as name:
        scratch = Path(name)
        try:
            inside = _inspected(task, settings, scratch)
            for index in range(len(done), pairs):
                progress(label, 2 * len(trained), total)
                trained.append(_pair(task, settings, index, scratch))
            progress(label, total - 2, total)
            _audit(task, settings, trained, scratch)
        except _Stopped as failure:
            stopped = failure
        progress(label, total - 1, total)
        finished = (*done, *_evaluated(trained, task.engine, settings))
    progress(label, total, total)
    if stopped:
        return Broken(reason=stopped.reason, detail=stopped.detail, pairs=finished)
    return summarize(settings, finished, inside)


def summarize(
    settings: Settings, pairs: Sequence[Pair], inside: Sequence[TensorCheck] = ()
) -> Compared:
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
        inside=tuple(inside),
    )


def _inspected(task: Task, settings: Settings, scratch: Path) -> Sequence[TensorCheck]:
    """What the candidate computes inside the trainer, in an untimed run of its own."""
    try:
        return inspect(task, settings, scratch)
    except BehavesDifferently as different:
        raise _Stopped("behaves_differently", str(different)) from different
    except ArmFailed as failure:
        raise _Stopped("arm_failed", f"the run that records its calls: {failure}") from failure


def _pair(task: Task, settings: Settings, index: int, scratch: Path) -> _Trained:
    seed = secrets.randbelow(2**31)
    order: Literal["AB", "BA"] = "AB" if index % 2 == 0 else "BA"
    runs = {}
    for arm in order:
        folder = scratch / f"pair{index}-{arm}"
        try:
            runs[arm] = train(task, settings, folder, seed, settings.steps, arm == "B")
        except ArmFailed as failure:
            if arm == "A":
                raise MachineError(
                    f"the incumbent's training run failed: {failure}",
                    "Run train.py by itself to see why.",
                ) from failure
            raise _Stopped("arm_failed", str(failure)) from failure
    _check_ops(task, runs["A"], runs["B"])
    return _Trained(seed, order, runs["A"], runs["B"])


def _check_ops(task: Task, incumbent: Run, candidate: Run) -> None:
    for name, sha256 in candidate.ops.items():
        expected = task.candidate_sha256 if name == task.op else incumbent.ops.get(name, "nothing")
        if sha256 != expected:
            raise _Stopped("wrong_op", f"{name} ran {sha256[:12]}, expected {expected[:12]}")
    used = incumbent.ops[task.op]
    if used == task.candidate_sha256:
        raise CommandError(
            f"the candidate {used[:12]} is the incumbent: nothing to compare",
            f"Change the candidate, or take the promotion back: kernel-lab demote {task.op}",
        )


def _audit(task: Task, settings: Settings, trained: Sequence[_Trained], scratch: Path) -> None:
    """One step only: what N steps take longer by the whole process's clock is N - 1 steps."""
    if settings.steps < 2 or not trained:
        return
    try:
        short = train(task, settings, scratch / "audit", trained[-1].seed, 1, True)
    except ArmFailed as failure:
        raise _Stopped("arm_failed", f"the audit run of one step: {failure}") from failure
    whole = min(t.candidate.wall_s for t in trained) - short.wall_s
    told = min(t.candidate.step_ms for t in trained) * (settings.steps - 1) / 1000
    if whole > told * AUDIT_MARGIN + AUDIT_SLACK_S:
        raise _Stopped(
            "clock_mismatch",
            f"{settings.steps - 1} steps took {whole:.2f} s of the whole process's time, "
            f"but {told:.2f} s by its heartbeats",
        )


def _evaluated(trained: Sequence[_Trained], engine: str, settings: Settings) -> tuple[Pair, ...]:
    """The pairs with their val_bpb, all from one clean process."""
    if not trained:
        return ()
    folders = [run.folder for t in trained for run in (t.incumbent, t.candidate)]
    val_bpb = iter(evaluate(folders, engine, settings))

    def arm(run: Run) -> Arm:
        return Arm(
            step_ms=run.step_ms,
            wall_s=run.wall_s,
            steps=settings.steps,
            val_bpb=next(val_bpb),
            ops=run.ops,
        )

    return tuple(
        Pair(seed=t.seed, order=t.order, incumbent=arm(t.incumbent), candidate=arm(t.candidate))
        for t in trained
    )


def evaluate(folders: Sequence[Path], engine: str, settings: Settings) -> list[float]:
    """val_bpb of each run's checkpoint, by a clean process with the incumbent ops."""
    argv = [sys.executable, "-m", "trainer.evaluate", "--engine", engine, "--data", settings.data]
    for folder in folders:
        argv += ["--checkpoint", str(folder / "checkpoint")]
    flag = "--eval-tokens" if settings.eval_tokens.isdigit() else "--rung"
    argv += [flag, settings.eval_tokens]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)
    if finished.returncode != 0:
        raise MachineError(
            f"the clean evaluation failed: {finished.stderr.strip()[-400:]}",
            "The runs' checkpoints could not be evaluated, so nothing was recorded.",
        )
    results = json.loads(finished.stdout.strip().splitlines()[-1])["results"]
    return [float(result["val_bpb"]) for result in results]
