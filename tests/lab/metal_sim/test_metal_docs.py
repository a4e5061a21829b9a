"""The example of docs/metal.md runs and prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import metal_table
import pytest

from lab.metal_sim import Builds
from lab.metal_sim.findings import KINDS


def test_the_example_prints_what_the_page_shows(
    checkout: Path,
    builds: Builds,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (checkout / "docs" / "metal.md").read_text()
    example = re.search(r"^```python\n(.*?)^```", page, re.S | re.M)
    shown = re.search(r"^(error: body:6.*); \.\.\.$", page, re.M)
    assert example is not None
    assert shown is not None
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(builds.folder.parent))
    names: dict = {}
    exec(compile(example[1], "docs/metal.md", "exec"), names)
    assert shown[1] in capsys.readouterr().out
    repaired = names["SOURCE"].replace("mem_none", "mem_threadgroup")
    kernel = names["MetalKernel"]("reverse", ("inp",), ("out",), repaired)
    report = names["simulate"](kernel, names["call"], builds=builds)
    assert report.passed
    assert not report.findings


def test_every_kind_of_finding_is_on_the_page(checkout: Path) -> None:
    page = (checkout / "docs" / "metal.md").read_text()
    others = ("threadgroup_memory", "unwritten_output", "schedule_difference", "schedule_rounding")
    kinds = {*(kind.name for kind in KINDS.values()), *others}
    assert not [kind for kind in kinds if f"`{kind}`" not in page]


def test_the_tables_of_planted_bugs_are_those_of_the_list(checkout: Path) -> None:
    page = (checkout / "docs" / "metal.md").read_text()
    assert metal_table.summary() in page
    assert metal_table.unseen() in page
    assert metal_table.misses() in page
    assert metal_table.listed() in (checkout / "docs" / "metal-bugs.md").read_text()
