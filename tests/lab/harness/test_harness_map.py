"""The docstring of lab.harness is the map of its files."""

from __future__ import annotations

import re
from pathlib import Path

from lab import harness


def test_the_map_names_every_file_and_no_other() -> None:
    """Who reads the harness before trusting it must find all of it."""
    rows = re.findall(r"^    \S.*?  +(.+)$", harness.__doc__ or "", re.MULTILINE)
    named = re.findall(r"\w+", re.sub(r"\([^)]*\)", "", " ".join(rows)))
    files = {file.stem for file in Path(harness.__file__).parent.glob("*.py")}
    assert sorted(named) == sorted(files - {"__init__"})
