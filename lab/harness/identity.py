"""The identity of the harness: evidence counts only for the harness that produced it."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
BESIDE = (
    *("ab.py", "arm.py", "audit.py", "bench_intervals.py", "heartbeats.py", "inside.py"),
    *("paired.py", "recordings.py", "stats.py", "turns.py"),
)


def harness_sha256() -> str:
    """Hash over names and contents of every file of lab/harness, the A/B and the statistics."""
    digest = hashlib.sha256()
    for path in (*sorted(FOLDER.glob("*.py")), *(FOLDER.parent / name for name in BESIDE)):
        data = path.read_bytes()
        digest.update(f"{path.name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()
