"""The clean evaluation: another process's weights, the incumbent ops, exact bits per byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import SHORT, result, small_data, write_op

from trainer import evaluate
from trainer.command import run_command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    small_data(folder)
    return folder


@pytest.fixture
def data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """`--data` of the small text, prepared."""
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(folder / "cache"))
    torch.set_num_threads(1)
    return f"--data={folder / 'text'}"


def test_clean_evaluation_agrees_with_the_run(
    capsys: pytest.CaptureFixture[str], data: str, tmp_path: Path
) -> None:
    """And with a second checkpoint in the same process, whose weights replace the first's."""
    runs = [
        result(capsys, data, *SHORT, f"--checkpoint={tmp_path / name}", *more)
        for name, more in (("a", ()), ("b", ("--steps=5",)), ("c", ("--depth=2",)))
    ]
    flags = [f"--checkpoint={tmp_path / name}" for name in "abca"]
    code = run_command(evaluate.command, [*flags, data, "--eval-tokens=64", "--engine=cpu"])
    found = json.loads(capsys.readouterr().out)["results"]
    assert code == 0
    expected = [runs[i]["val_bpb"] for i in (0, 1, 2, 0)]
    assert [one["val_bpb"] for one in found] == expected
    assert len(set(expected)) == 3
    assert found[0]["tokens"] == 64
    assert found[0]["bytes"] == runs[0]["eval"]["bytes"]
    assert found[2]["config"]["depth"] == 2


def test_clean_evaluation_ignores_the_ops_of_the_run(
    capsys: pytest.CaptureFixture[str], data: str, tmp_path: Path
) -> None:
    """A candidate that flatters its own loss must gain nothing by it."""
    flattering = "return inputs[0].sum(-1) * 1e-9 + 0.001"
    forced = write_op(tmp_path / "flatter.py", "softcap_cross_entropy", flattering)
    own = result(capsys, data, *SHORT, forced, f"--checkpoint={tmp_path / 'c'}")
    run_command(
        evaluate.command,
        [f"--checkpoint={tmp_path / 'c'}", data, "--eval-tokens=64", "--engine=cpu"],
    )
    clean = json.loads(capsys.readouterr().out)["results"][0]["val_bpb"]
    assert own["val_bpb"] < 0.01 < 1 < clean


def test_runs_of_one_seed_are_compared(
    capsys: pytest.CaptureFixture[str], data: str, tmp_path: Path
) -> None:
    """From the weights at which both began; the evaluation comes to the same as without."""
    runs = {"a": [], "same": [], "shorter": ["--steps=1"], "longer": ["--steps=4"]}
    for name, more in runs.items():
        result(capsys, data, *SHORT, f"--checkpoint={tmp_path / name}", *more)
    flags = [data, "--eval-tokens=64", "--engine=cpu"]
    for name in ("same", "shorter", "longer"):
        flags += [f"--checkpoint={tmp_path / name}", f"--beside={tmp_path / 'a'}"]
    assert run_command(evaluate.command, flags) == 0
    same, shorter, longer = json.loads(capsys.readouterr().out)["results"]
    assert same["apart"] == {"share": 0.0, "tensor": same["apart"]["tensor"], "not_finite": []}
    assert shorter["apart"]["share"] > 0.3
    assert longer["apart"]["share"] > 0.3
    assert run_command(evaluate.command, [*flags[:3], f"--checkpoint={tmp_path / 'same'}"]) == 0
    assert same["compute_dtype"] == "float32"
    alone = json.loads(capsys.readouterr().out)["results"][0]
    assert alone == {name: value for name, value in same.items() if name in alone}
    assert run_command(evaluate.command, flags[:-1]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer_sha256": "0" * 64}, "another tokenizer"),
        ({"config": {"depths": 3}}, "no configuration that this version knows"),
    ],
)
def test_clean_evaluation_refuses_what_it_cannot_judge(
    capsys: pytest.CaptureFixture[str],
    data: str,
    tmp_path: Path,
    change: dict[str, Any],
    message: str,
) -> None:
    """Bits per byte under another tokenizer's byte counts would be a wrong number."""
    result(capsys, data, *SHORT, "--skip-eval", f"--checkpoint={tmp_path / 'c'}")
    path = tmp_path / "c" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    code = run_command(evaluate.command, [f"--checkpoint={tmp_path / 'c'}", data])
    assert code == 3
    assert message in capsys.readouterr().err
