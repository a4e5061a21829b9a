"""`profile` from end to end: a trainer made of paper for what can go wrong, then the real one."""

from __future__ import annotations

import _thread
import json
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from synthetic_trace import Events

from kernels.spec import discover
from lab import roofline
from lab.errors import CommandError, LabError, MachineError
from lab.profiling import load, profile, run
from lab.profiling.ablation import gone, text
from lab.profiling.costs import step_work
from lab.records import Machine, Profiled
from lab.roofline import Roofline
from trainer.config import TrainConfig

MACHINE = Machine(hardware="paper x1", system="test", python="3", frameworks={})
RATES = Roofline(((2**18, 10.0),), {"float32": 100.0, "bfloat16": 200.0})
CONFIG = {"depth": 2, "sequence": 8, "device_batch_size": 1, "total_batch_size": 8}

PAPER = """\
import pathlib, shutil, sys, time
here = pathlib.Path(__file__).parent
(here / "argv").write_text("\\n".join(sys.argv[1:]))
trace = pathlib.Path(sys.argv[sys.argv.index("--trace") + 1])
"""
WORKS = """\
shutil.copy(here / "trace.json", trace)
shutil.copy(here / "meta.json", str(trace) + ".meta.json")
"""
LINGERS = """\
import os
(here / "new").write_text(str(os.getpid()))
(here / "new").rename(here / "pid")
time.sleep(60)
"""


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a `train.py` to fill in, a trace and its sidecar, and a known roofline."""
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(roofline, "measure", lambda engine: RATES)
    events = Events(tmp_path)
    for start in (0, 20):
        events.step(start, start + 20)
        events.scope("mlp_up", start, start + 10)
        events.scope("adamw", start + 10, start + 19)
    events.write()
    meta = {
        "plain_step_ms": [10.0, 11.0, 90.0],
        "traced_step_ms": [20.0, 20.0],
        "ablated_step_ms": {"mlp_up": [[10.0, 6.0], [20.0, 10.0], [10.0, 9.0]]},
        "config": CONFIG,
        "engine": "cpu",
        "compute_dtype": "float32",
        "hardware": "paper x1",
        "vocab": 100,
        "accumulation": 1,
    }
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    return tmp_path


def start(folder: Path, script: str, **more: object) -> Profiled:
    (folder / "train.py").write_text(PAPER + script)
    arguments = {"steps": 2, "workdir": folder / "out", "machine": MACHINE, **more}
    return profile("cpu", "tour", "stdlib", **arguments)  # type: ignore[arg-type]


def test_shares_of_traced_steps_are_applied_to_the_plain_step(paper: Path) -> None:
    """The profiler doubled these steps; the record must not: 50% of a median of 11 ms."""
    profiled = start(paper, WORKS)
    rows = {op.op: op for op in profiled.ops}
    assert rows["mlp_up"].share == pytest.approx(0.5)
    assert rows["mlp_up"].time_ms == pytest.approx(5.5)
    assert sum(row.time_ms for row in profiled.ops) == pytest.approx(11.0)
    assert profiled.step_ms == (10.0, 11.0, 90.0)
    found = gone(rows["mlp_up"])
    assert found is not None
    assert found.point == pytest.approx((0.4 + 0.5 + 0.1) / 3)  # of pairs, not of totals
    assert found.low < 0 < 0.5 < found.high  # three pairs say little
    assert text(rows["mlp_up"]) == "33.3% ±51.7"
    assert gone(rows["adamw"]) is None
    assert text(rows["adamw"]) == ""
    assert profiled.covered == pytest.approx(0.95)
    assert (profiled.bandwidth_gb_s, profiled.peak_gflop_s) == (10.0, 100.0)
    assert (profiled.engine, profiled.preset, profiled.machine) == ("cpu", "tour", MACHINE)


def test_the_trainer_gets_the_flags_of_its_contract(paper: Path) -> None:
    """Overrides and the registry decide which ops are profiled; forgotten, the wrong ones are."""
    start(
        paper,
        WORKS,
        overrides={"rmsnorm": Path("fast.py")},
        registry=Path("scratch.toml"),
        config_flags=("--depth", "1"),
    )
    given = (paper / "argv").read_text().split("\n")
    pairs = dict(zip(given, [*given[1:], ""], strict=True))
    assert pairs["--preset"] == "tour"
    assert pairs["--data"] == "stdlib"
    assert pairs["--engine"] == "cpu"
    assert pairs["--trace-steps"] == "2"
    assert pairs["--op"] == "rmsnorm=fast.py"
    assert pairs["--registry"] == "scratch.toml"
    assert pairs["--depth"] == "1"
    assert "--no-compile" in given


def test_progress_ends_with_how_far_to_trust_the_numbers(paper: Path) -> None:
    """Overhead and coverage are what a reader of a profile has to know first."""
    said: list[tuple[str, int, int]] = []
    start(paper, WORKS, progress=lambda *what: said.append(what))
    assert [done for _, done, _ in said] == [0, 1, 2, 3]
    assert "95.0% of the step has a name, the profiler adds 81.8%" in said[-1][0]


def test_a_profile_with_gaps_names_them(paper: Path) -> None:
    """Below 95% the next question is which operator lacks a scope."""
    events = Events(paper)
    events.step(0, 20)
    events.scope("mlp_up", 0, 10)
    events.operator("aten::forgotten", 12, 18)
    events.write()
    said: list[str] = []
    start(paper, WORKS, progress=lambda label, done, total: said.append(label))
    assert "operators without a scope: aten::forgotten 6.00 ms" in said[-1]


@pytest.mark.parametrize(("status", "blame"), [(2, CommandError), (3, MachineError)])
def test_what_the_trainer_says_is_what_the_user_reads(
    paper: Path, status: int, blame: type[LabError]
) -> None:
    """Its own message, fix and blame, without a wrapping that hides them."""
    words = "compiling\\nerror: no data here\\n  Run: prepare.py"
    with pytest.raises(blame) as caught:
        start(paper, f"print('{words}', file=sys.stderr); sys.exit({status})")
    assert (caught.value.message, caught.value.hint) == ("no data here", "Run: prepare.py")
    assert caught.value.exit_code == status


def test_a_trainer_that_crashes_is_quoted(paper: Path) -> None:
    """A traceback is no message of the trainer's, but its last lines say most."""
    with pytest.raises(MachineError, match="exit code 1") as caught:
        start(paper, "raise ZeroDivisionError('by design')")
    assert "ZeroDivisionError: by design" in caught.value.message
    assert ".log" in caught.value.hint


def test_a_trainer_that_is_killed_is_told(paper: Path) -> None:
    """The system's out-of-memory killer leaves no words."""
    with pytest.raises(MachineError, match=r"signal 9:\nit said nothing"):
        start(paper, "import os; os.kill(os.getpid(), 9)")


def test_a_trainer_that_leaves_no_trace_is_told(paper: Path) -> None:
    with pytest.raises(MachineError, match="there is no trace"):
        start(paper, "")


def test_a_failed_run_neither_uses_nor_loses_the_trace_of_an_earlier_one(paper: Path) -> None:
    """Used, a trainer that silently did nothing would yield yesterday's profile."""
    start(paper, WORKS)
    with pytest.raises(MachineError, match="there is no trace"):
        start(paper, "")
    kept = sorted(path.name for path in (paper / "out").iterdir())
    assert kept == ["tour-cpu.log", "tour-cpu.trace.json"]


@pytest.mark.parametrize("text", ["", "{}", '{"plain_step_ms": 3}'])
def test_a_damaged_sidecar_is_told(paper: Path, text: str) -> None:
    (paper / "meta.json").write_text(text)
    with pytest.raises(MachineError, match="no usable"):
        start(paper, WORKS)


@pytest.mark.parametrize("blow", ["interrupt", "time limit"])
def test_no_trainer_survives(paper: Path, monkeypatch: pytest.MonkeyPatch, blow: str) -> None:
    """A forgotten trainer would occupy the machine and spoil every later timing."""
    pid_file = paper / "pid"

    def interrupt() -> None:
        while not pid_file.exists():
            time.sleep(0.01)
        _thread.interrupt_main()

    if blow == "interrupt":
        expected: type[BaseException] = KeyboardInterrupt
        threading.Thread(target=interrupt, daemon=True).start()
    else:
        expected = MachineError
        monkeypatch.setattr(run, "TIME_LIMIT_S", 1.5)
    with pytest.raises(expected):
        start(paper, LINGERS)
    assert not psutil.pid_exists(int(pid_file.read_text()))


@pytest.mark.parametrize(
    ("engine", "preset", "steps", "said"),
    [
        ("cpuu", "tour", 2, "unknown engine 'cpuu'. Did you mean 'cpu'"),
        ("cpu", "tuor", 2, "unknown preset 'tuor'. Did you mean 'tour'"),
        ("cpu", "tour", 0, "0 traced steps are too few"),
    ],
)
def test_wrong_arguments_start_nothing(
    tmp_path: Path, engine: str, preset: str, steps: int, said: str
) -> None:
    with pytest.raises(CommandError, match=said):
        profile(engine, preset, "stdlib", steps=steps, workdir=tmp_path / "out", machine=MACHINE)
    assert not (tmp_path / "out").exists()


def test_a_profile_is_read_back_as_it_was_written(paper: Path) -> None:
    """`extract --profile` and `orchestrate --profile` work from the file, not the ledger."""
    profiled = start(paper, WORKS)
    file = paper / "profile.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(profiled), indent=2))
    assert load(file) == profiled


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "opened"}', "not json"])
def test_a_file_that_is_no_profile_is_the_users(tmp_path: Path, text: str) -> None:
    file = tmp_path / "profile.json"
    file.write_text(text)
    with pytest.raises(CommandError, match="is not a profile") as caught:
        load(file)
    assert "profile --output" in caught.value.hint


def test_a_profile_that_is_not_there_is_the_users(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot read the profile"):
        load(tmp_path / "profile.json")


def test_the_real_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainer and profiler meet only in the names of scopes: one renamed or unknown shows here.

    Three layers (two with a value embedding), two micro-batches, Muon's stacks by distinct shape.
    """
    from prepare import prepare

    monkeypatch.setattr(roofline, "measure", lambda engine: RATES)
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "text"
    text.mkdir()
    for number in range(20):
        (text / f"{number:02}.txt").write_text(f"step {number} of many " * 150)
    prepare(str(text), vocab_size=300)
    sizes = {"depth": 3, "aspect-ratio": 12, "head-dim": 16, "sequence": 32}
    batch = {"device-batch-size": 2, "total-batch-size": 128}
    flags = [word for name, n in (sizes | batch).items() for word in (f"--{name}", str(n))]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    profiled = profile(
        "cpu",
        "tour",
        str(text),
        steps=2,
        workdir=tmp_path / "out",
        machine=MACHINE,
        config_flags=flags,
    )
    rows = {op.op: op for op in profiled.ops}
    assert {name: row.calls for name, row in rows.items() if row.target} == {
        "rmsnorm": 2 * (2 * 3 + 2),
        "rope_qk_norm": 2 * 3,
        "sliding_window_attention": 2 * 3,
        "relu_squared": 2 * 3,
        "softcap_cross_entropy": 2,
        "muon_orthogonalize": 4,
        "value_embed_gate": 2 * 2,
    }
    assert all(row.bytes_moved > 0 for row in rows.values() if row.target)
    assert set(rows) == {*step_work(TrainConfig(), 300, 4, {}), "unattributed"}
    only_forward = {"data", "host_to_device", "loss_reduction", "muon_update", "adamw", "zero_grad"}
    for name, row in rows.items():
        others = {"adamw_lambdas", "muon_orthogonalize", "unattributed"}
        has_backward = name not in only_forward | others
        assert (row.backward_ms > 0) == has_backward, name
    larger = [row.op for row in profiled.larger]
    assert set(larger) == {name for name, folder in discover().items() if folder.target.parts}
    assert all(row.calls > 0 and row.target for row in profiled.larger)
    assert profiled.covered > 0.5  # so small a model spends much of its step in Python
    assert sum(row.share for row in profiled.ops) == pytest.approx(1)
