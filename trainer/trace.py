"""Records steps of the trainer for the profiler: first plain and timed, then traced with scopes.

    record(engine, stream, config, Path("step.json"), steps=4)

writes a Chrome trace and, beside it, `step.json.meta.json` with the times of the plain and of the
traced steps, so that the profiler's own cost can be told from the trainer's. The steps train the
engine's model; nobody keeps it. What the time is spent on is worked out elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.config import TrainConfig
from trainer.errors import DataError, UsageError
from trainer.loop import Engine, Stream, take
from trainer.schedule import rates_at
from trainer.scopes import recording


def check_target(path: Path, steps: int) -> None:
    """Raises `UsageError` where no trace can be written, before anything is run."""
    if steps < 1:
        raise UsageError(f"--trace-steps must be at least 1, not {steps}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--trace {path} is no file in a folder that exists", "Give a file.")


def record(
    engine: Engine, stream: Stream, config: TrainConfig, path: Path, steps: int, hardware: str
) -> dict[str, Any]:
    """Writes the trace and its sidecar; returns what the sidecar holds."""
    from torch.profiler import ProfilerActivity, profile, record_function

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or its C++ side writes to stderr unasked
    activities = [ProfilerActivity.CPU]
    if engine.name == "cuda":
        activities.append(ProfilerActivity.CUDA)
    plain_ms = _timed_steps(engine, stream, config, steps, nullcontext)
    with (
        profile(activities=activities, record_shapes=False, with_stack=False) as profiler,
        recording(),
    ):
        traced_ms = _timed_steps(engine, stream, config, steps, lambda: record_function("step"))
    meta = {
        "plain_step_ms": plain_ms,
        "traced_step_ms": traced_ms,
        "config": asdict(config),
        "accumulation": config.accumulation,
        "engine": engine.name,
        "hardware": hardware,
        "vocab": engine.vocab,
    }
    try:
        profiler.export_chrome_trace(str(path))
        path.with_name(f"{path.name}.meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    except OSError as error:
        raise DataError(f"could not write {path}: {error}", "Give --trace another file.") from error
    return meta


def _timed_steps(
    engine: Engine,
    stream: Stream,
    config: TrainConfig,
    steps: int,
    mark: Callable[[], AbstractContextManager[Any]],
) -> list[float]:
    """Wall-clock milliseconds of each step, data included, until the device is done."""
    rates = rates_at(config, 0, 0.0)
    times = []
    engine.synchronize()
    for _ in range(steps):
        began = time.perf_counter()
        with mark():
            engine.step(take(stream, config.accumulation), rates).wait()
            engine.synchronize()
        times.append(1e3 * (time.perf_counter() - began))
    return times
