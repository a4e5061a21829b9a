"""What all tests share: nothing of the user's own cache, results or threads is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results and cache of a test lie in its own temporary folder."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("KERNEL_LAB_RESULTS", str(folder / "results"))
    if "KERNEL_LAB_TEST_CACHE" not in os.environ:
        monkeypatch.setenv("KERNEL_LAB_CACHE", str(folder / "cache"))


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent
