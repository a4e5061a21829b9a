"""Stage 5, the A/B: paired training runs, incumbent against candidate, on step time and val_bpb.

A pair is two fresh processes with the same seed, hence the same initial weights and the same
batches. With `--turns` both are alive at once and take turns (`lab.turns`), else they run one after
the other; which goes first alternates from pair to pair. The candidate runs inside the trainer, so
nothing that process says about itself decides:

- step time is the judge's clock, from its word to go to the heartbeat of the turn's last step;
- outside of its turns the candidate's run may do no more than the incumbent's (`lab.audit`);
- val_bpb is computed by a clean process, with the incumbent ops, from the saved checkpoint;
- a run that is not timed records calls of the op at secret steps, and the judge checks what the
  candidate made of them (`lab.inside`).

What the run says of its ops is only checked for mistakes: the op under test must have the
candidate's hash. Both arms run in the sandbox, without network and without a view of the ledger.

Not covered: a candidate that saves a checkpoint other than the model it trained; one that compiles
for long, and does work ahead only in runs of more than one step.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab import audit, checkpoints
from lab.arm import Arm as RunningArm
from lab.arm import ArmFailed, Run, Settings, Task, run_folder
from lab.errors import CommandError, MachineError
from lab.inside import BehavesDifferently, inspect
from lab.places import ROOT
from lab.progress import Progress, silent
from lab.records import Arm, Broken, Compared, Pair, TensorCheck
from lab.turns import Order, Which, train_pair


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
    order: Order
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
    label, total = f"A/B of {task.op}", pairs - len(done) + 2
    with tempfile.TemporaryDirectory(prefix="kernel-lab-ab-") as name:
        scratch = Path(name)
        try:
            inside = _inspected(task, settings, scratch)
            for index in range(len(done), pairs):
                progress(label, len(trained), total)
                trained.append(_pair(task, settings, index, scratch))
            progress(label, total - 2, total)
            _audit(task, settings, trained, scratch)
        except _Stopped as failure:
            stopped = failure
        progress(label, total - 1, total)
        whole, forged = _with_own_checkpoints(trained)
        stopped = stopped or forged
        finished = (*done, *_evaluated(whole, task.engine, settings))
    progress(label, total, total)
    if stopped:
        return Broken(reason=stopped.reason, detail=stopped.detail, pairs=finished)
    return summarize(settings, finished, inside)


def summarize(
    settings: Settings, pairs: Sequence[Pair], inside: Sequence[TensorCheck] = ()
) -> Compared:
    """The intervals of what was measured, recomputed from the raw pairs."""
    from lab.paired import speedup_interval
    from lab.stats import difference_interval

    return Compared(
        preset=settings.preset,
        data=settings.data,
        eval_tokens=settings.eval_tokens,
        steps=settings.steps,
        pairs=tuple(pairs),
        speedup=speedup_interval(pairs),
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
    order: Order = "AB" if index % 2 == 0 else "BA"
    runs = _runs(task, settings, seed, order, settings.steps, scratch)
    _check_ops(task, runs["A"], runs["B"])
    return _Trained(seed, order, runs["A"], runs["B"])


def _runs(
    task: Task, settings: Settings, seed: int, order: Order, steps: int, scratch: Path
) -> Mapping[Which, Run]:
    def start(which: Which) -> RunningArm:
        folder = run_folder(scratch)
        return RunningArm(task, settings, folder, seed, steps, candidate=which == "B")

    # Not by default yet: on a busy machine an A/A with turns favoured one arm (docs/ab.md).
    turns = bool(settings.turns)
    try:
        return train_pair(start, order, steps, turns)
    except ArmFailed as failure:
        if failure.candidate:
            raise _Stopped("arm_failed", str(failure)) from failure
        raise MachineError(
            f"the incumbent's training run failed: {failure}",
            "Run train.py by itself to see why.",
        ) from failure


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
    """Raises `_Stopped` if the candidate's runs worked outside of their turns."""
    if not trained:
        return
    pairs = [(t.incumbent, t.candidate) for t in trained]
    found = audit.trouble(pairs)
    if not found and settings.steps > 1 and audit.starts_longer(pairs):
        last = trained[-1]
        runs = _runs(task, settings, last.seed, last.order, 1, scratch)
        found = audit.worked_ahead(pairs, (runs["A"], runs["B"]))
    if found:
        raise _Stopped("clock_mismatch", found)


def _with_own_checkpoints(
    trained: Sequence[_Trained],
) -> tuple[Sequence[_Trained], _Stopped | None]:
    """The pairs whose checkpoints can be evaluated, and what is wrong with the first other one."""
    whole, forged = [], None
    for one in trained:
        folders = [run.folder / "checkpoint" for run in (one.incumbent, one.candidate)]
        found = checkpoints.trouble(*folders)
        if found is None:
            whole.append(one)
        else:
            forged = forged or _Stopped("arm_failed", found)
    return whole, forged


def _evaluated(trained: Sequence[_Trained], engine: str, settings: Settings) -> tuple[Pair, ...]:
    """The pairs with their val_bpb, all from one clean process."""
    if not trained:
        return ()
    folders = [run.folder for t in trained for run in (t.incumbent, t.candidate)]
    val_bpb = iter(evaluate(folders, engine, settings))

    def arm(run: Run) -> Arm:
        return Arm(
            step_ms=sum(run.turn_ms) / settings.steps,
            turn_ms=run.turn_ms,
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
