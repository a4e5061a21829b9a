"""Where a lab keeps its things: one frozen `Places`, made from the command line.

    results/ledger.jsonl      every record (append-only; the only thing that cannot be rebuilt)
    results/workspaces/       one folder per workspace
    results/candidates/       every candidate ever judged, by sha256, as it was when it was judged
    results/recordings/       calls of ops as training made them; made again when they are missing
    results/profiles/         profiles as JSON
    results/report/           report.html, progress.png, results.tsv

`promoted.toml` lies in the checkout (`trainer/`), since a promotion is a change to the trainer that
is reviewed as a diff; a scratch lab such as the tour's has its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Places:
    """The folders and files of one lab."""

    results: Path
    ledger: Path
    registry: Path

    @property
    def workspaces(self) -> Path:
        """Where `open` puts workspaces unless told otherwise."""
        return self.results / "workspaces"

    @property
    def candidates(self) -> Path:
        """The content-addressed store of judged candidates."""
        return self.results / "candidates"

    @property
    def recordings(self) -> Path:
        """Recorded calls of training runs, by what they depend on. No worker sees them."""
        return self.results / "recordings"

    @property
    def profiles(self) -> Path:
        """Profiles as JSON."""
        return self.results / "profiles"

    @property
    def report(self) -> Path:
        """What people look at."""
        return self.results / "report"


def default_results() -> Path:
    """`KERNEL_LAB_RESULTS`, else `results/` in the checkout, else in the current folder."""
    given = os.environ.get("KERNEL_LAB_RESULTS")
    if given:
        return Path(given).resolve()
    return (ROOT if (ROOT / "pyproject.toml").is_file() else Path.cwd()) / "results"


def places(
    results: Path | None = None, ledger: Path | None = None, registry: Path | None = None
) -> Places:
    """The places given, with the defaults for those that are not."""
    folder = (results or default_results()).resolve()
    return Places(
        results=folder,
        ledger=(ledger or folder / "ledger.jsonl").resolve(),
        registry=(registry or ROOT / "trainer" / "promoted.toml").resolve(),
    )
