"""Candidates in MLX are judged as those in torch are, by real workers and in the same sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels.spec import discover
from lab.harness import verify
from lab.outcomes import Failed, Passed
from trainer.config import preset, training_shape

FOLDER = discover()["rmsnorm"]
TRAIN = FOLDER.target.train_cases(training_shape(preset("tour-mlx"), 512))
STRIDED = next(case for case in FOLDER.target.odd_cases if case.layout == "strided")
HEAD = "import mlx.core as mx\n\n\ndef rmsnorm(x, eps):\n    "


def judged(file: Path) -> Passed | Failed:
    """By the harness, with the folder's incumbent in MLX as the yardstick."""
    return verify(file, FOLDER, (*TRAIN, STRIDED), engine="mlx")


def test_the_starting_candidate_passes_and_is_something_else_than_the_incumbent() -> None:
    """In both dtypes, with gaps between rows, on hidden shapes, with its gradient."""
    outcome = judged(FOLDER.path / "candidates" / "mlx.py")
    assert isinstance(outcome, Passed), outcome
    assert outcome.no_change_of == ""


def test_the_incumbent_passes_and_is_told_to_be_no_change() -> None:
    """By its text: MLX has no record of operations to compare."""
    outcome = judged(FOLDER.incumbent("mlx"))
    assert isinstance(outcome, Passed), outcome
    assert outcome.no_change_of == "incumbent"


@pytest.mark.parametrize(
    ("body", "reason", "says"),
    [
        ("return mx.zeros_like(x)", "numeric", ""),
        ("return mx.stop_gradient(mx.fast.rms_norm(x, None, eps))", "gradient", "dx"),
        ("x[...] = mx.fast.rms_norm(x, None, eps)\n    return x", "input_changed", "x"),
        ("return mx.fast.rms_norm(x.astype(mx.float32), None, eps)", "dtype", "float32"),
        ("return mx.fast.rms_norm(x, None, eps).reshape(-1)", "shape", ""),
        ("import numpy\n    return numpy.zeros(x.shape)", "not_a_tensor", "mlx.core.array"),
        (
            "import numpy\n    numpy.array(x)\n    return mx.fast.rms_norm(x, None, eps)",
            "raised",
            "numpy has no bfloat16",
        ),
        ("import torch\n    return torch.relu(x)", "raised", "must be Tensor, not array"),
        ("return (lambda: mx.fast.rms_norm(x, None, eps))", "not_a_tensor", "function"),
    ],
    ids=[
        *("zeros", "cuts_the_gradient", "in_place", "wider", "other_shape"),
        *("numpy_out", "bfloat16_through_numpy", "torch_inside", "a_promise"),
    ],
)
def test_each_fault_has_its_own_reason(tmp_path: Path, body: str, reason: str, says: str) -> None:
    """An author has to know what to mend, without a Mac and without guessing."""
    file = tmp_path / "candidate.py"
    file.write_text(f"{HEAD}{body}\n")
    outcome = judged(file)
    assert isinstance(outcome, Failed)
    assert outcome.reason == reason, outcome.detail
    assert says in outcome.detail


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("mx.eval = mx.async_eval", "mlx.core.eval replaced"),
        ("mx.fast.rms_norm = lambda x, weight, eps: x", "mlx.core.fast.rms_norm replaced"),
        ("mx.set_default_device(mx.Device(mx.cpu, 1))", "mlx.core.default_device: was"),
    ],
)
def test_what_changes_mlx_for_all_ops_is_told(tmp_path: Path, line: str, says: str) -> None:
    """Unevaluated graphs, another norm everywhere: the candidate's own op might even be right."""
    file = tmp_path / "candidate.py"
    file.write_text(HEAD.replace("\n\n\n", f"\n\n{line}\nNORM = mx.fast.rms_norm\n\n\n"))
    with file.open("a") as body:
        body.write("return NORM(x, None, eps)\n")
    outcome = judged(file)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "switches"
    assert says in outcome.detail


@pytest.mark.parametrize(("language", "engine"), [("torch", "mlx"), ("mlx", "cpu")])
def test_a_file_in_the_other_framework_is_told_so(language: str, engine: str) -> None:
    """And not only that some argument, deep inside, has the wrong type."""
    file = FOLDER.path / "candidates" / f"{language}.py"
    outcome = verify(file, FOLDER, (STRIDED,), engine=engine)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "framework"
    assert f"imports {language} and not" in outcome.detail
