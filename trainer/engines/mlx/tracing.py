"""How the MLX engine traces a step for `trainer.trace`: fences at the seams, no profiler."""

from __future__ import annotations

import json
from pathlib import Path

from trainer.engines.mlx.seams import Fences, fenced
from trainer.trace import TimedStep


def traced_step(engine_name: str, step: TimedStep, file: Path) -> float:
    """One fenced step, written to `file`; its milliseconds."""
    with fenced(Fences()) as fences:
        milliseconds = step(lambda: fences.scope("step"))
    file.write_text(json.dumps({"traceEvents": fences.events}))
    return milliseconds
