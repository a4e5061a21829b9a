"""Honest candidates are never refused, whatever shapes and values the judge draws.

Small on purpose. The measurement that counts has many verifications of each, and takes in the
honest corpus, whose candidates work in other ways than ours:

    KERNEL_LAB_HONEST_RUNS=30 uv run pytest tests/lab/harness/test_false_refusals.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from in_process import verify_in_process

from kernels.spec import TargetFolder, discover
from lab.harness.shapes import hidden_cases
from lab.outcomes import Passed
from lab.selftest import corpus
from lab.selftest.run import NEEDS_COMPILER

RUNS = int(os.environ.get("KERNEL_LAB_HONEST_RUNS", "2"))
TARGETS = discover()
OURS = [
    pytest.param(folder, path, id=f"{folder.id}-{path.stem}")
    for folder in TARGETS.values()
    for path in (folder.path / "candidates" / "torch.py", folder.incumbent("torch"))
]
OTHERS = [
    pytest.param(TARGETS[one.target], one.path, id=one.name)
    for one in corpus.honest()
    if one.language == "torch" and not one.known_hole and NEEDS_COMPILER not in one.summary
]
HONEST = [*OURS, *OTHERS] if "KERNEL_LAB_HONEST_RUNS" in os.environ else OURS


@pytest.mark.parametrize(("folder", "path"), HONEST)
@pytest.mark.timeout(0 if RUNS > 10 else 300)
def test_an_honest_candidate_is_not_refused(folder: TargetFolder, path: Path) -> None:
    """A false refusal costs an author a day, and the lab its credit."""
    for _ in range(RUNS):
        cases = (*folder.target.odd_cases, *hidden_cases(folder.target))
        outcome = verify_in_process(path, folder, cases, folder.target.dtypes)
        assert isinstance(outcome, Passed), outcome.detail
