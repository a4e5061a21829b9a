"""The identity of the harness: evidence counts only for the harness that produced it."""

from __future__ import annotations

from pathlib import Path

from lab.source_hash import files_sha256

FOLDER = Path(__file__).resolve().parent
BESIDE = (
    *("ab.py", "arm.py", "audit.py", "bench_intervals.py", "checkpoints.py", "evaluation.py"),
    *("heartbeats.py", "inside.py", "paired.py", "plain_files.py", "recordings.py"),
    *("scoring.py", "source_hash.py", "stats.py", "turns.py"),
)
SWITCHES = FOLDER.parents[1] / "trainer" / "engines" / "torch" / "switches.py"
"""Which switches a candidate may not turn."""


def harness_sha256() -> str:
    """Hash over names and contents of every file of lab/harness, the A/B and the statistics."""
    beside = (*(FOLDER.parent / name for name in BESIDE), SWITCHES)
    return files_sha256((*sorted(FOLDER.glob("*.py")), *beside), FOLDER.parents[1])
