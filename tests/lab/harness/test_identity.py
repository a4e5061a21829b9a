"""Whose evidence counts: any edit of what judged, or of what was trained, is another identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.harness import identity


def test_an_edit_anywhere_in_the_trainer_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what an A/B is measured with."""
    (tmp_path / "trainer" / "engines").mkdir(parents=True)
    for name in ("train.py", "trainer/loop.py", "trainer/engines/model.py"):
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(identity, "FOLDER", tmp_path / "lab" / "harness")
    before = identity.trainer_sha256()
    (tmp_path / "trainer" / "engines" / "model.py").write_text("x = 2\n")
    assert identity.trainer_sha256() != before
