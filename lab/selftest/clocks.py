"""The incumbent against itself, and against copies of it that are slowed by so many percent.

A bench that lets its own incumbent win is worth nothing, and one that misses a handicap would miss
a gain. The target is the one without gradients, whose whole time lies in the call that is slowed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from kernels.spec import discover
from lab.harness.bench import CONTROL_MARGIN
from lab.harness.handicaps import slowed_op
from lab.harness.pace import Pace
from lab.harness.worker_process import Patience
from lab.outcomes import Measured, Quarantined
from lab.progress import Progress
from lab.selftest.arena import Arena
from lab.selftest.scorecard import Timed
from lab.selftest.trials import NOISE

TARGET = "muon_orthogonalize"
HANDICAPS_PERCENT = (0, 2, 5, 10)
TRIES = 3


def timed_copies(engine: str, progress: Progress) -> tuple[Timed, ...]:
    """One bench per handicap, again where the control says that the machine was busy."""
    folder = discover()[TARGET]
    source = folder.incumbent("torch").read_text()
    found = []
    with tempfile.TemporaryDirectory() as name, Arena(folder, engine, Patience()) as arena:
        for number, percent in enumerate(HANDICAPS_PERCENT):
            progress("A/A and handicaps", number, len(HANDICAPS_PERCENT))
            path = Path(name) / f"slowed_by_{percent}.py"
            path.write_text(slowed_op(source, TARGET, percent / 100))
            found.append(_time(arena, path, percent))
        progress("A/A and handicaps", len(HANDICAPS_PERCENT), len(HANDICAPS_PERCENT))
    return tuple(found)


def _time(arena: Arena, path: Path, percent: int) -> Timed:
    for _ in range(TRIES):
        outcome = arena.bench(path, Pace())
        if not (isinstance(outcome, Quarantined) and outcome.reason in NOISE):
            break
    if not isinstance(outcome, Measured):
        return Timed(slowed_percent=percent, met=outcome.reason, speedup=None, verdict="not found")
    speedup = outcome.speedup
    verdict = "no difference" if percent == 0 else "not found"
    if speedup.low >= CONTROL_MARGIN:
        verdict = "FASTER"
    elif speedup.high < 1.0:
        verdict = "slower"
    return Timed(slowed_percent=percent, met="measured", speedup=speedup, verdict=verdict)  # type: ignore[arg-type]
