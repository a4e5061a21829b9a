"""Records steps of the trainer for the profiler: first plain and timed, then traced with scopes.

    record(engine, stream, config, Path("step.json"), steps=4, hardware="EPYC x2")

writes a Chrome trace and, beside it, `step.json.meta.json` with the times of the plain and of the
traced steps, so that the profiler's own cost can be told from the trainer's, and of steps without
each op where an `Ablation` is given. The steps train the
engine's model; nobody keeps it. What the time is spent on is worked out elsewhere.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from trainer.ablation import Ablation
from trainer.config import TrainConfig
from trainer.engines import instrument
from trainer.errors import DataError, UsageError
from trainer.loop import Engine, Stream, take
from trainer.schedule import rates_at

SETTLING_STEPS = 8
SETTLING_SECONDS = 20.0
FEW_PAGES = 2000
"""New pages (4 KiB) of a plain and a traced step together that are not worth waiting for."""

TimedStep = Callable[[Callable[[], AbstractContextManager[Any]]], float]
"""Runs one step inside the context that it is given; returns its milliseconds."""


def check_target(path: Path, steps: int) -> None:
    """Raises `UsageError` where no trace can be written, before anything is run."""
    if steps < 1:
        raise UsageError(f"--trace-steps must be at least 1, not {steps}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--trace {path} is no file in a folder that exists", "Give a file.")


def record(
    engine: Engine,
    stream: Stream,
    config: TrainConfig,
    path: Path,
    steps: int,
    hardware: str,
    ablation: Ablation | None = None,
) -> dict[str, Any]:
    """Writes the trace and its sidecar; returns what the sidecar holds.

    Plain and traced steps alternate, so that both see the machine in the same state. With an
    `ablation` of the engine's ops, steps without each op follow.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or its C++ side writes to stderr unasked
    step = partial(_timed_step, engine, stream, config)
    plain_ms, traced_ms = [], []
    try:
        with tempfile.TemporaryDirectory(dir=path.absolute().parent) as scratch:
            files = [Path(scratch) / f"{number}.json" for number in range(steps)]
            traced_step = partial(instrument(engine.name, "tracing").traced_step, engine.name, step)
            _settle(step, traced_step, files[0])
            for file in files:
                plain_ms.append(step(nullcontext))
                traced_ms.append(traced_step(file))
            path.write_text(json.dumps(_joined(files)))
        ablated = _ablated(engine, step, ablation, steps) if ablation else {}
        meta = {
            "plain_step_ms": plain_ms,
            "traced_step_ms": traced_ms,
            "ablated_step_ms": ablated,
            "config": asdict(config),
            "accumulation": config.accumulation,
            "engine": engine.name,
            "compute_dtype": engine.notes["compute_dtype"].value,
            "hardware": hardware,
            "vocab": engine.vocab,
        }
        path.with_name(f"{path.name}.meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    except OSError as error:
        raise DataError(f"could not write {path}: {error}", "Give --trace another file.") from error
    return meta


def _settle(step: TimedStep, traced_step: Callable[[Path], float], file: Path) -> None:
    """Traces steps that do not count, until they map no new memory.

    The profiler's events lie on the heap among the step's large buffers, which then no longer fit
    where they were: measured on the tour preset, a traced step mapped 128 MiB anew and took a third
    longer for it, the longer the trace the more. With a profiler for every step, the heap has room
    for both after a few.
    """
    deadline = time.perf_counter() + SETTLING_SECONDS
    for _ in range(SETTLING_STEPS):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        step(nullcontext)
        traced_step(file)
        new_pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        if new_pages < FEW_PAGES or time.perf_counter() > deadline:
            return


def _ablated(
    engine: Engine, step: TimedStep, ablation: Ablation, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """For each op that is called, milliseconds of steps with it and, right after, without it.

    All of them start from the same weights. The first round without an op teaches its stand-in.
    """
    snapshot = engine.snapshot()
    found: dict[str, list[tuple[float, float]]] = {}
    for op in sorted(ablation.called):
        pairs = []
        for _ in range(rounds + 1):
            with_it = step(nullcontext)
            engine.restore(snapshot)
            with ablation.without(op):
                pairs.append((with_it, step(nullcontext)))
            engine.restore(snapshot)
        found[op] = pairs[1:]
        ablation.forget()
    return found


def _joined(files: list[Path]) -> dict[str, Any]:
    """One trace of several: time and autograd's numbers go on from each to the next."""
    traces = [json.loads(file.read_bytes()) for file in files]
    return {**traces[0], "traceEvents": [e for trace in traces for e in trace["traceEvents"]]}


def _timed_step(
    engine: Engine,
    stream: Stream,
    config: TrainConfig,
    mark: Callable[[], AbstractContextManager[Any]],
) -> float:
    """Wall-clock milliseconds of a step, data included, until the device is done."""
    rates = rates_at(config, 0, 0.0)
    engine.synchronize()
    began = time.perf_counter()
    with mark():
        engine.step(take(stream, config.accumulation), rates).wait()
        engine.synchronize()
    return 1e3 * (time.perf_counter() - began)
