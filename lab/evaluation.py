"""The clean evaluation of an A/B's checkpoints: a sandboxed process that has the incumbent ops.

    found = evaluate(folders, engine, settings, scratch)      # raises `NotEvaluated`

The candidate's run wrote what is read here, so it is read where the arms ran: without network,
everything read-only but a folder of its own, no view of the ledger. A file that takes over the
process that reads it could still make up what that process prints. So the incumbent's checkpoints
are evaluated apart from the candidate's, before them, by another process.

Decides nothing: `lab.scoring` says whose fault it is where one cannot be evaluated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.harness import sandbox
from lab.places import ROOT
from lab.training_run import Settings, readable, run_folder
from trainer.files import cache_folder


class NotEvaluated(Exception):
    """The process failed, or said nothing that could be read; one line."""


@dataclass(frozen=True)
class Found:
    """What there is to say of one checkpoint."""

    val_bpb: float
    apart: float = 0.0
    """How far its tensors lie from those of the run beside it: `trainer.apart`."""
    tensor: str = ""
    """The one that says so."""
    not_finite: tuple[str, ...] = ()
    """Its tensors that hold NaN or infinity."""
    compute_dtype: str = ""
    """Of the activations in training, from which the rounding comes."""


def evaluate(
    folders: Sequence[Path],
    engine: str,
    settings: Settings,
    scratch: Path,
    beside: Sequence[Path] = (),
) -> list[Found]:
    """What each run's checkpoint is worth, in their order; `beside` are the runs of the same seeds.

    Raises `NotEvaluated`.
    """
    flag = "--eval-tokens" if settings.eval_tokens.isdigit() else "--rung"
    argv = [sys.executable, "-m", "trainer.evaluate", "--engine", engine, "--data", settings.data]
    argv += [flag, settings.eval_tokens]
    checkpoints = [folder / "checkpoint" for folder in (*folders, *beside)]
    for number, checkpoint in enumerate(checkpoints):
        argv += ["--checkpoint" if number < len(folders) else "--beside", str(checkpoint)]
    results = _answer(argv, checkpoints, settings, scratch)
    try:
        found = [_found(result, compared=bool(beside)) for result in results]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotEvaluated(f"its answer cannot be read: {error!r}") from error
    if len(found) != len(folders):
        raise NotEvaluated(f"it answered for {len(found)} checkpoints of {len(folders)}")
    return found


def _answer(
    argv: list[str], checkpoints: Sequence[Path], settings: Settings, scratch: Path
) -> list[Any]:
    folder = run_folder(scratch)
    folder.mkdir()
    process = sandbox.launch(
        argv,
        scratch=folder,
        limits=sandbox.Limits(wall_s=settings.limit_s * len(checkpoints)),
        hide=settings.hide,
        readable=[*readable(settings), *checkpoints],
        env={"KERNEL_LAB_CACHE": str(cache_folder()), "PYTHONPATH": str(ROOT)},
    )
    try:
        process.wait(timeout=None)
    finally:
        sandbox.kill_tree(process)
    if process.why or process.returncode != 0:
        ended = process.why or f"exit code {process.returncode}"
        raise NotEvaluated(f"{ended}: {process.tail()}"[:600])
    try:
        return list(json.loads(process.stdout.splitlines()[-1])["results"])
    except (IndexError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotEvaluated(f"its answer cannot be read: {error!r}") from error


def _found(result: dict[str, Any], *, compared: bool) -> Found:
    if not compared:
        return Found(val_bpb=float(result["val_bpb"]))
    apart = result["apart"]
    return Found(
        val_bpb=float(result["val_bpb"]),
        apart=float(apart["share"]),
        tensor=str(apart["tensor"]),
        not_finite=tuple(map(str, apart["not_finite"])),
        compute_dtype=str(result["compute_dtype"]),
    )
