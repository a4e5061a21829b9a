"""A small target on disk for the harness's tests, so that they do not depend on the real ones."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confined import GENEROUS, Run
from in_process import verify_in_process

from kernels.spec import TargetFolder
from lab.harness.running import Limits
from lab.harness.sandbox import Sandboxed, launch
from lab.outcomes import Failed, Passed

TARGET = '''
"""Root-mean-square normalisation, small."""

from kernels.spec import Case, Cost, Input, Output, Range, Target

SHAPE = ("rows", "width")


def train_cases(shape):
    return (Case("train", {"rows": 64, "width": 256}, "train"),)


def cost(dims, itemsize):
    elements = dims["rows"] * dims["width"]
    return Cost(2 * elements * itemsize, 4 * elements, 3 * elements * itemsize, 8 * elements)


TARGET = Target(
    summary="Divides each row by its root mean square.",
    inputs=(Input("x", SHAPE),),
    outputs=(Output("y", SHAPE),),
    train_cases=train_cases,
    odd_cases=(
        Case("one", {"rows": 4, "width": 33}),
        Case("strided", {"rows": 5, "width": 48}, layout="strided"),
        Case("large", {"rows": 3, "width": 64}, scale=1e4),
        Case("tiny_gradient", {"rows": 3, "width": 64}, gradient_scale=1e-12),
    ),
    cost=cost,
    scalars={"eps": 2.0**-23},
    independent="rows",
    ranges={"rows": Range(1, 4096), "width": Range(2, 4096, multiple=2)},
)
'''

REFERENCE = '''
"""The oracle."""


def toynorm(x, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
'''

INCUMBENT = '''
"""What runs today."""

import torch


def toynorm(x, eps):
    return torch.nn.functional.rms_norm(x, (x.shape[-1],), eps=eps)
'''


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> TargetFolder:
    """The target `toynorm`: one input, one output, differentiable, one scalar."""
    path = tmp_path_factory.mktemp("kernels") / "toynorm"
    path.mkdir()
    (path / "target.py").write_text(TARGET)
    (path / "reference.py").write_text(REFERENCE)
    (path / "incumbent_torch.py").write_text(INCUMBENT)
    return TargetFolder("toynorm", path)


Judged = Callable[..., Passed | Failed]


@pytest.fixture
def judged(toy: TargetFolder, tmp_path: Path) -> Judged:
    """Judges the source of a candidate of `toynorm`, in this process."""

    def judged(source: str, *odd: str, **more: Any) -> Passed | Failed:
        path = tmp_path / "submitted.py"
        path.write_text(source)
        cases = [case for case in toy.target.odd_cases if case.name in (odd or ("one",))]
        return verify_in_process(path, toy, cases, **more)

    return judged


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Run]:
    """Starts a Python script in a sandbox."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    running: list[Sandboxed] = []

    def start(
        script: str, *arguments: str, kind: str, limits: Limits = GENEROUS, **more: Any
    ) -> Sandboxed:
        argv = [sys.executable, "-I", "-S", "-c", textwrap.dedent(script), *arguments]
        process = launch(argv, scratch=scratch, limits=limits, force=kind, **more)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()


@pytest.fixture
def trained(toy: TargetFolder, tmp_path: Path) -> Judged:
    """Judges the source of a candidate of `toynorm` on its training case and an odd one."""

    def judged(source: str) -> Passed | Failed:
        path = tmp_path / "submitted.py"
        path.write_text(source)
        cases = [*toy.target.train_cases(None), toy.target.odd_cases[0]]  # type: ignore[arg-type]
        return verify_in_process(path, toy, cases)

    return judged
