"""Empty traces to fill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_trace import Events


@pytest.fixture
def events(tmp_path: Path) -> Events:
    """An empty trace with today's names."""
    return Events(tmp_path)


@pytest.fixture
def make_events(tmp_path: Path) -> Callable[[bool], Events]:
    """`make_events(True)`: an empty trace with the names of 2021."""
    return lambda old: Events(tmp_path, old)
