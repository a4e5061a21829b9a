"""The types that targets are made of, and how files are found and loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kernels.spec import Case, TargetFolder, discover, load_module

TARGET = """
from kernels.spec import Case, Cost, Input, Output, Target

TARGET = Target(
    summary="y = 2 x",
    inputs=(Input("x", ("rows",)),),
    outputs=(Output("y", ("rows",)),),
    train_cases=lambda shape: (Case("train", {"rows": shape.tokens}, "train"),),
    odd_cases=(Case("one", {"rows": 1}),),
    cost=lambda dims, itemsize: Cost(2 * dims["rows"] * itemsize, dims["rows"]),
    scalars={"factor": 2.0},
)
"""


@pytest.fixture
def doubled(tmp_path: Path) -> TargetFolder:
    folder = tmp_path / "doubled"
    folder.mkdir()
    (folder / "target.py").write_text(TARGET)
    (folder / "reference.py").write_text("def doubled(x, factor):\n    return factor * x\n")
    return discover(tmp_path)["doubled"]


def test_a_folder_with_a_target_is_found_and_nothing_else(
    tmp_path: Path, doubled: TargetFolder
) -> None:
    """Adding a target is adding a folder."""
    (tmp_path / "empty").mkdir()
    assert list(discover(tmp_path)) == ["doubled"]
    assert doubled.target.signature == "(x, factor)"
    assert doubled.target.differentiable == ("x",)


def test_the_hash_follows_what_decides_correctness(doubled: TargetFolder) -> None:
    """Evidence for another reference must not count."""
    before = doubled.sha256
    (doubled.path / "notes.txt").write_text("harmless")
    assert TargetFolder("doubled", doubled.path).sha256 == before
    (doubled.path / "reference.py").write_text("def doubled(x, factor):\n    return x\n")
    assert TargetFolder("doubled", doubled.path).sha256 != before


def test_a_folder_without_a_target_says_so(tmp_path: Path) -> None:
    """The message names the file to mend."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "target.py").write_text("TARGET = 3\n")
    with pytest.raises(TypeError, match=r"target\.py"):
        _ = discover(tmp_path)["broken"].target


def test_loading_follows_the_content_and_leaves_no_half_module(tmp_path: Path) -> None:
    """An edited file would otherwise run as it was before."""
    file = tmp_path / "m.py"
    file.write_text("value = 1\n")
    assert load_module(file).value == 1
    file.write_text("value = 2\n")
    assert load_module(file).value == 2
    file.write_text("import json\nraise RuntimeError('half way')\n")
    before = set(sys.modules)
    with pytest.raises(RuntimeError, match="half way"):
        load_module(file)
    assert set(sys.modules) == before


def test_a_case_names_its_shapes() -> None:
    """Shapes are written once, as names."""
    assert Case("c", {"rows": 3, "width": 5}).shape(("width", "rows")) == (5, 3)
