"""train.py as a user, a judge or an agent runs it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import SHORT, SIZES, SMALL, result, run_train, small_data, write_op

import train
from trainer import checkpoint
from trainer.config import TrainConfig

KEYS = [
    "val_bpb",
    "training_seconds",
    "total_seconds",
    "peak_vram_mb",
    "mfu_percent",
    "total_tokens_M",
    "num_steps",
    "num_params_M",
    "depth",
]


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


def results() -> Path:
    return Path(os.environ["KERNEL_LAB_RESULTS"])


def test_the_block_has_upstreams_keys_in_upstreams_form(
    capsys: pytest.CaptureFixture[str], data: str
) -> None:
    """Loops grep `^val_bpb:` and `^peak_vram_mb:` out of the log."""
    code, out, err = run_train(capsys, data, *SHORT)
    assert code == 0
    block = out.split("---\n")[1].splitlines()
    assert [line.split(":")[0] for line in block[:9]] == KEYS
    assert re.fullmatch(r"val_bpb:          \d+\.\d{6}", block[0])
    assert "num_steps:        2" in block
    assert [line.split()[1] for line in block if line.startswith("op ")] == sorted(
        path.parent.name for path in Path(train.ROOT).glob("kernels/*/target.py")
    )
    assert "step 00001" in err


def test_json_holds_the_block_and_what_identifies_the_run(
    capsys: pytest.CaptureFixture[str], data: str
) -> None:
    """The A/B reads times, hashes and fingerprints from here; stdout holds nothing else."""
    content = result(capsys, data, *SHORT, "--seed=7")
    assert set(KEYS) <= content.keys()
    assert content["config"] == {**asdict(SMALL), "seed": 7}
    assert content["steps"] == content["num_steps"] == len(content["step_ms"]) == 2
    assert sum(content["step_ms"]) == pytest.approx(1e3 * content["training_seconds"])
    tokens = 2 * SMALL.total_batch_size
    assert content["tokens_per_second"] == pytest.approx(tokens / content["training_seconds"])
    assert content["eval"]["tokens"] == 64
    assert content["val_bpb"] > 0
    assert len(content["data_sha256"]) == len(content["tokenizer_sha256"]) == 64
    op = content["ops"]["rmsnorm"]
    assert (op["reason"], Path(op["path"]).name) == ("incumbent", "incumbent_torch.py")
    assert Path(content["checkpoint"]) == results() / "checkpoints" / "last"
    assert 0 < content["mfu_percent"] < 100


def test_the_same_command_gives_the_same_number(
    capsys: pytest.CaptureFixture[str], data: str
) -> None:
    """With --steps on a CPU a run is reproducible to the last digit."""
    values = [result(capsys, data, *SHORT)["val_bpb"] for _ in range(2)]
    assert values[0] == values[1]


def test_every_field_has_a_flag_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    """A field without one could be changed only by editing code."""
    code, out, _ = run_train(capsys, "--help")
    assert code == 0
    for field in fields(TrainConfig):
        assert re.search(rf"--{field.name.replace('_', '-')} (INTEGER|FLOAT|TEXT)\s+\S", out)


def test_importing_train_starts_nothing_and_loads_no_torch() -> None:
    """Tools and tests import it; `--help` and mistakes are answered at once."""
    code = "import sys, train; assert 'torch' not in sys.modules; print(train.PRESET)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=train.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == train.PRESET
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--preset=tuor"], 2, "Did you mean 'tour'"),
        (["--engine=cqu"], 2, "unknown engine 'cqu'"),
        (["--data=stdlbi"], 2, "stdlib"),
        (["--data=climbmix"], 3, "prepare.py --data climbmix"),
        (["--steps=0"], 2, "--steps must be at least 1"),
        (["--steps=1", "--time-budget=1"], 2, "exclude each other"),
        (["--time-budget=-1"], 2, "more than 0"),
        (["--depth=0"], 2, "depth must be at least 1"),
        (["--total-batch-size=100"], 2, "The nearest that works"),
        (["--eval-rung=chaep"], 2, "Did you mean 'cheap'"),
        (["--eval-tokens=0"], 2, "at least 1 token"),
        (["--op=rmsnorm"], 2, "no '='"),
        (["--op=rmsnorm=nowhere.py"], 2, "there is no file nowhere.py"),
        (["--heartbeat=987"], 2, "no open file descriptor"),
        (["--heartbeat=1", "--turns=987"], 2, "no open file descriptor"),
        (["--turns=0"], 2, "--turns needs --heartbeat"),
        (["--resume=nowhere"], 3, "no checkpoint at nowhere"),
        (["--resume=nowhere", "--depth=2"], 2, "--depth cannot change them"),
        (["--checkpoint=x", "--no-checkpoint"], 2, "exclude each other"),
        (["--trace=nowhere/t.json"], 2, "no file in a folder that exists"),
        (["--trace=t.json", "--compile"], 2, "cannot see into a compiled model"),
        (["--what"], 2, "No such option"),
        (["--depth=two"], 2, "not a valid integer"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    """With the exit code that says whose mistake it was, and nothing on stdout."""
    found, out, err = run_train(capsys, *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_an_engine_that_is_not_here_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """An explicit choice is never replaced by another device behind one's back."""
    if torch.backends.mps.is_available():
        pytest.skip("this machine has an Apple GPU")
    code, _, err = run_train(capsys, "--engine=mps")
    assert code == 3
    assert "sees no such device" in err


def test_a_forced_op_is_used_and_named_by_its_hash(
    capsys: pytest.CaptureFixture[str], data: str, tmp_path: Path
) -> None:
    """The A/B's treatment: the candidate runs in the trainer and the op table says so."""
    body = "return 2 * inputs[0].relu().square()"
    forced = write_op(tmp_path / "mine.py", "relu_squared", body)
    content = result(capsys, data, *SHORT, forced)
    op = content["ops"]["relu_squared"]
    assert op["reason"] == "forced by --op"
    assert op["sha256"] == hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest()
    assert content["val_bpb"] != result(capsys, data, *SHORT)["val_bpb"]


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("rmsnorm", "raise ValueError('candidate is broken')", "candidate is broken"),
        ("relu_squared", "return inputs[0].detach().relu().square()", "no gradient"),
        ("softcap_cross_entropy", "return inputs[0].sum(-1) * float('nan')", "loss became nan"),
        ("softcap_cross_entropy", "return inputs[0].sum(-1) * 0 + 1e9", "exploded"),
        ("nonsense", "pass", "unknown op 'nonsense'"),
    ],
)
def test_a_broken_op_ends_the_run_with_a_reason(
    capsys: pytest.CaptureFixture[str],
    data: str,
    tmp_path: Path,
    name: str,
    body: str,
    message: str,
) -> None:
    """A candidate's failure is the candidate's: a message and a code, no traceback of ours."""
    if message == "exploded":
        body = "mine.calls = mine.calls + 1 if hasattr(mine, 'calls') else 1; " + (
            "return inputs[0].sum(-1) * 0 + (1.0 if mine.calls < 8 else 1e9)"
        )
        body = body.replace("mine", name)
    code, _, err = run_train(capsys, data, *SHORT, write_op(tmp_path / "bad.py", name, body))
    assert code == (2 if name == "nonsense" else 3)
    assert message in err
    assert "Traceback" not in err


def test_a_forced_file_without_the_function_is_refused(
    capsys: pytest.CaptureFixture[str], data: str, tmp_path: Path
) -> None:
    """Falling back to the incumbent would measure nothing and report it as the candidate's."""
    (tmp_path / "empty.py").write_text("")
    code, _, err = run_train(capsys, data, *SHORT, f"--op=rmsnorm={tmp_path / 'empty.py'}")
    assert code == 3
    assert "must define a function named rmsnorm" in err


def test_skipping_checkpoint_and_evaluation(capsys: pytest.CaptureFixture[str], data: str) -> None:
    """For timing alone: nothing is written and no number is made up."""
    content = result(capsys, data, *SHORT, "--skip-eval", "--no-checkpoint")
    assert content["val_bpb"] is content["eval"] is content["checkpoint"] is None
    assert not results().exists()


def test_a_small_validation_split_is_said_to_be_small(
    capsys: pytest.CaptureFixture[str], data: str
) -> None:
    """A `cheap` over a thousandth of the text must not pass for the rung."""
    code, out, err = run_train(
        capsys, "--json", data, *SHORT[:3], *SIZES, "--eval-rung=cheap", "--no-checkpoint"
    )
    assert code == 0
    assert "fewer than the 262,144 asked for" in err
    found = json.loads(out)["eval"]
    assert found["rung"] == "cheap"
    assert found["tokens"] < found["asked_tokens"] == 262_144


def test_the_checkpoint_is_on_disk_before_the_evaluation(
    capsys: pytest.CaptureFixture[str], data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream lost trainings to crashes in its evaluation."""

    def crash(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.run.evaluate", crash)
    code, _, err = run_train(capsys, data, *SHORT)
    assert code == 130
    assert "Traceback" not in err
    assert checkpoint.load_state(results() / "checkpoints" / "last")["step"] == 2


COMMAND = [sys.executable, str(train.ROOT / "train.py")]


def test_heartbeat_lines_come_on_the_given_descriptor(data: str) -> None:
    """A judge's wall clock times the steps by them."""
    reader, writer = os.pipe()
    arguments = [data, *SHORT, "--skip-eval", "--no-checkpoint", f"--heartbeat={writer}"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], pass_fds=(writer,), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.close(writer)
    with os.fdopen(reader) as lines:
        heard = lines.read().splitlines()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert heard == ["ready", "step 1", "step 2", "done"]


def test_ctrl_c_leaves_a_checkpoint_that_can_be_resumed(
    capsys: pytest.CaptureFixture[str], data: str
) -> None:
    """By default, without any flag: exit code 130, the step finished, nothing lost."""
    arguments = [data, *SHORT[:2], *SIZES, "--steps=100000", "--json"]
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*COMMAND, *arguments, f"--heartbeat={writer}"],
        pass_fds=(writer,),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    with os.fdopen(reader) as lines:
        while lines.readline() != "step 3\n":
            pass
        process.send_signal(signal.SIGINT)
        lines.read()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    content = json.loads(out)
    assert content["interrupted"]
    last = results() / "checkpoints" / "last"
    step = checkpoint.load_state(last)["step"]
    assert content["steps"] == step >= 3
    resumed = result(
        capsys, "--engine=cpu", f"--resume={last}", f"--steps={step + 1}", "--skip-eval"
    )
    assert (resumed["steps"], len(resumed["step_ms"])) == (step + 1, 1)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compile_without_a_compiler_is_told(
    capsys: pytest.CaptureFixture[str], data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by name it is an error; by default it is just off."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    code, _, err = run_train(capsys, data, *SHORT, "--compile")
    assert code == 3
    assert "needs a C++ compiler" in err
    assert run_train(capsys, data, *SHORT)[0] == 0
