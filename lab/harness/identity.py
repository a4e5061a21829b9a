"""The identity of the harness: evidence counts only for the harness that produced it."""

from __future__ import annotations

from pathlib import Path

from lab.source_hash import files_sha256

FOLDER = Path(__file__).resolve().parent
BESIDE = (
    *("ab.py", "arm.py", "audit.py", "bench_intervals.py", "checkpoints.py", "evaluation.py"),
    *("heartbeats.py", "inside.py", "paired.py", "plain_files.py", "recordings.py"),
    *("scoring.py", "source_hash.py", "stats.py", "training_run.py", "turns.py"),
)
SIMULATOR = FOLDER.parent / "metal_sim"
SWITCHES = FOLDER.parents[1] / "trainer" / "engines" / "torch" / "switches.py"
"""Which switches a candidate may not turn."""


def harness_sha256(simulator: bool = False) -> str:
    """Hash over names and contents of every file of lab/harness, the A/B and the statistics.

    With `simulator`, those of the Metal simulator too: for evidence that comes from it, and no
    other, which a change to the simulator must not void.
    """
    beside = (*(FOLDER.parent / name for name in BESIDE), SWITCHES)
    files = (*sorted(FOLDER.glob("*.py")), *beside, *(_simulator() if simulator else ()))
    return files_sha256(files, FOLDER.parents[1])


def trainer_sha256() -> str:
    """Hash over names and contents of the trainer's own files: what an A/B is measured with, and
    where recorded calls come from. Promoted ops are not among them."""
    root = FOLDER.parents[1]
    return files_sha256((root / "train.py", *sorted((root / "trainer").rglob("*.py"))), root)


def _simulator() -> list[Path]:
    found = (path for path in SIMULATOR.rglob("*") if path.suffix in (".py", ".h", ".cpp"))
    return sorted(found)
