"""How the torch engine traces a step for `trainer.trace`: torch.profiler, with scopes."""

from __future__ import annotations

from pathlib import Path

from trainer.scopes import recording
from trainer.trace import TimedStep


def traced_step(engine_name: str, step: TimedStep, file: Path) -> float:
    """One step under a profiler of its own, written to `file`; its milliseconds."""
    from torch.profiler import ProfilerActivity, profile, record_function

    activities = [ProfilerActivity.CPU]
    if engine_name == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with (
        profile(activities=activities, record_shapes=False, with_stack=False) as profiler,
        recording(record_function),
    ):
        milliseconds = step(lambda: record_function("step"))
    profiler.export_chrome_trace(str(file))
    return milliseconds
