"""Stage 5, the A/B: paired training runs, incumbent against candidate, on step time and val_bpb.

A pair is two fresh processes with the same seed, hence the same initial weights and the same
batches. With `--turns` both are alive at once and take turns (`lab.turns`), else they run one after
the other; which goes first alternates from pair to pair. The candidate runs inside the trainer, so
nothing that process says about itself decides:

- step time is the judge's clock, from its word to go to the heartbeat of the turn's last step;
- outside of its turns the candidate's run may do no more than the incumbent's (`lab.audit`);
- val_bpb is computed by a clean process, with the incumbent ops, from the saved checkpoint, which
  must end where the incumbent's run of the same seed did, but for rounding (`lab.scoring`);
- a run that is not timed records calls of the op at secret steps, and the judge checks what the
  candidate made of them (`lab.inside`).

What the run says of its ops is only checked for mistakes: the op under test must have the
candidate's hash. Both arms run in the sandbox, without network and without a view of the ledger.

Not covered: a candidate that compiles for long, and does work ahead only in runs of more than one
step.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import audit
from lab.arm import Arm as RunningArm
from lab.errors import CommandError, MachineError
from lab.inside import BehavesDifferently, inspect
from lab.outcomes import Broken, Compared, Pair, TensorCheck
from lab.progress import Progress, silent
from lab.scoring import Stopped, Trained, score
from lab.training_run import ArmFailed, Run, Settings, Task, run_folder
from lab.turns import Order, Which, train_pair


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
    stopped, finished, inside = measure(task, settings, pairs, done=done, progress=progress)
    if stopped:
        return Broken(reason=stopped.reason, detail=stopped.detail, pairs=finished)
    return summarize(settings, finished, inside)


def measure(
    task: Task,
    settings: Settings,
    pairs: int,
    *,
    done: Sequence[Pair] = (),
    progress: Progress = silent,
) -> tuple[Stopped | None, tuple[Pair, ...], Sequence[TensorCheck]]:
    """What `compare` judges: why it broke off, the pairs, and what was checked inside."""
    trained: list[Trained] = []
    stopped: Stopped | None = None
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
        except Stopped as failure:
            stopped = failure
        progress(label, total - 1, total)
        scored, worthless = score(trained, task.engine, settings, scratch)
    progress(label, total, total)
    return stopped or worthless, (*done, *scored), inside


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
        raise Stopped("behaves_differently", str(different)) from different
    except ArmFailed as failure:
        raise Stopped("arm_failed", f"the run that records its calls: {failure}") from failure


def _pair(task: Task, settings: Settings, index: int, scratch: Path) -> Trained:
    seed = secrets.randbelow(2**31)
    order: Order = "AB" if index % 2 == 0 else "BA"
    runs = _runs(task, settings, seed, order, settings.steps, scratch)
    _check_ops(task, runs["A"], runs["B"])
    return Trained(seed, order, runs["A"], runs["B"])


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
            raise Stopped("arm_failed", str(failure)) from failure
        raise MachineError(
            f"the incumbent's training run failed: {failure}",
            "Run train.py by itself to see why.",
        ) from failure


def _check_ops(task: Task, incumbent: Run, candidate: Run) -> None:
    for name, sha256 in candidate.ops.items():
        expected = task.candidate_sha256 if name == task.op else incumbent.ops.get(name, "nothing")
        if sha256 != expected:
            raise Stopped("wrong_op", f"{name} ran {sha256[:12]}, expected {expected[:12]}")
    used = incumbent.ops[task.op]
    if used == task.candidate_sha256:
        raise CommandError(
            f"the candidate {used[:12]} is the incumbent: nothing to compare",
            f"Change the candidate, or take the promotion back: kernel-lab demote {task.op}",
        )


def _audit(task: Task, settings: Settings, trained: Sequence[Trained], scratch: Path) -> None:
    """Raises `Stopped` if the candidate's runs worked outside of their turns."""
    if not trained:
        return
    pairs = [(t.incumbent, t.candidate) for t in trained]
    found = audit.trouble(pairs)
    if not found and settings.steps > 1 and audit.starts_longer(pairs):
        last = trained[-1]
        runs = _runs(task, settings, last.seed, last.order, 1, scratch)
        found = audit.worked_ahead(pairs, (runs["A"], runs["B"]))
    if found:
        raise Stopped("clock_mismatch", found)
