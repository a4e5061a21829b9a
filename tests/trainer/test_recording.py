"""What `--record` writes: exactly what crossed the seam, of the call that was asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from small_run import SHORT, SMALL, incumbents, run_train, small_data, small_stream

from kernels.spec import discover, load_module
from trainer.data import Prepared
from trainer.engines.torch.engine import TorchEngine
from trainer.engines.torch.recording import take, write
from trainer.errors import EngineError, UsageError
from trainer.loop import take as batches
from trainer.loop import warm_up
from trainer.recording import Plan, Record, Recorder, Wanted, read_plan
from trainer.run import Session, Settings
from trainer.schedule import StepBudget, rates_at

FOLDERS = discover()
CALLS_PER_STEP = {
    "rmsnorm": 2 * (2 * SMALL.depth + 2),
    "rope_qk_norm": 2 * SMALL.depth,
    "relu_squared": 2 * SMALL.depth,
    "softcap_cross_entropy": 2,
    "muon_orthogonalize": 4,
    "linear_softcap_cross_entropy": 2,
    "residual_rmsnorm": 2 * SMALL.depth,
    "fused_mlp": 2 * SMALL.depth,
    "value_embed_gate": 2 * 2,
    "adamw_step": 4,
    "attention_prelude": 2 * SMALL.depth,
    "sliding_window_attention": 2 * SMALL.depth,
}
"""Two micro-batches; two layers with a value embedding; Muon has four shapes of matrices."""
LARGER = [name for name, folder in FOLDERS.items() if folder.target.parts]
BY_THEMSELVES = [name for name in FOLDERS if name not in LARGER]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return small_data(tmp_path_factory.mktemp("data"))


def trained(prepared: Prepared, plan: Plan | None, steps: int = 3) -> tuple[list[float], Any]:
    """The losses of a few steps, and the recorder."""
    torch.set_num_threads(1)
    recorder = Recorder(plan, take) if plan else None
    ops = recorder.wrap(incumbents()) if recorder else incumbents()
    engine: Any = TorchEngine("cpu", SMALL, prepared.vocab, ops, compile_model=False)
    stream = small_stream(prepared)
    warm_up(engine, stream, SMALL)
    watched = recorder.watch(engine) if recorder else engine
    losses = []
    for step in range(steps):
        micro_batches = batches(stream, SMALL.accumulation)
        losses.append(watched.step(micro_batches, rates_at(SMALL, step, 0.0)).wait())
        engine.token_losses(*micro_batches[0])
    return losses, recorder


def read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["recording"]), tensors


def every_op(
    folder: Path,
    steps: Sequence[int],
    limit_bytes: int = 2**22,
    ops: Sequence[str] = BY_THEMSELVES,
) -> Plan:
    calls = [Wanted(op, step, 0.6) for op in ops for step in steps]
    return Plan(folder, tuple(calls), limit_bytes)


@pytest.mark.parametrize("op", FOLDERS)
def test_a_recorded_call_is_the_call_itself(op: str, prepared: Prepared, tmp_path: Path) -> None:
    """Inputs, outputs and both gradients belong together, under gradient accumulation too.

    The residual stream that enters a norm gets gradients from elsewhere as well: those must not be
    in what is recorded.
    """
    together = LARGER if op in LARGER else BY_THEMSELVES
    _, recorder = trained(prepared, every_op(tmp_path, (2, 3), ops=together))
    recorder.save(write, {})
    about, tensors = read(tmp_path / f"{op}.safetensors")
    target, incumbent = FOLDERS[op].target, load_module(FOLDERS[op].incumbent("torch"))
    assert [(c["step"], c["calls"]) for c in about["calls"]] == [
        (step, CALLS_PER_STEP[op]) for step in (2, 3)
    ]
    for number, call in enumerate(about["calls"]):
        assert call["number"] == int(0.6 * CALLS_PER_STEP[op])
        for told, constant in zip(call["scalars"], target.scalars.values(), strict=True):
            assert told == constant or (constant is None and told in SMALL.windows)
        inputs = [
            tensors[f"{number}.input.{i.name}"].requires_grad_(i.differentiable)
            for i in target.inputs
        ]
        result = getattr(incumbent, op)(*inputs, *call["scalars"])
        outputs = result if isinstance(result, tuple) else (result,)
        for output, found in zip(target.outputs, outputs, strict=True):
            assert torch.equal(found, tensors[f"{number}.output.{output.name}"])
        incoming = [tensors[f"{number}.incoming.{o.name}"] for o in target.outputs if leaves(op)]
        assert all(bool(gradient.any()) for gradient in incoming)
        if leaves(op):
            wanted = [i for i in inputs if i.requires_grad]
            for name, found in zip(
                leaves(op), torch.autograd.grad(outputs, wanted, incoming), strict=True
            ):
                torch.testing.assert_close(found, tensors[f"{number}.gradient.{name}"])


def leaves(op: str) -> tuple[str, ...]:
    return FOLDERS[op].target.differentiable


@pytest.mark.parametrize("ops", [BY_THEMSELVES, LARGER], ids=["by themselves", "larger"])
def test_recording_changes_no_bit_of_the_training(
    ops: list[str], prepared: Prepared, tmp_path: Path
) -> None:
    """What is recorded must be what happens when nobody looks.

    To record a larger op it runs as a whole, so its incumbent must do what the parts do.
    """
    plain, _ = trained(prepared, None)
    recorded, _ = trained(prepared, every_op(tmp_path, (2, 3), ops=ops))
    if "adamw_step" in ops:  # it gets its learning rate in float32
        assert recorded == pytest.approx(plain, rel=1e-6)
        ops = [op for op in ops if op != "adamw_step"]
        recorded, _ = trained(prepared, every_op(tmp_path, (2, 3), ops=ops))
    assert recorded == plain


def test_a_cut_call_leaves_out_the_gradients_that_are_sums_over_all_of_it(
    prepared: Prepared, tmp_path: Path
) -> None:
    """The gradient of the head from some tokens' inputs and all tokens' sum would look wrong."""
    name = "linear_softcap_cross_entropy"
    _, recorder = trained(prepared, every_op(tmp_path, (2,), limit_bytes=2**13, ops=[name]))
    recorder.save(write, {})
    about, tensors = read(tmp_path / f"{name}.safetensors")
    _, count, whole = about["calls"][0]["part"]
    assert 0 < count < whole
    assert tensors["0.input.head"].shape == (prepared.vocab, SMALL.width)
    assert len(tensors["0.gradient.x"]) == count
    assert "0.gradient.head" not in tensors


def test_a_run_without_a_plan_has_the_very_same_ops(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording that is off costs nothing: the callables are those of the op table."""
    built: list[Any] = []
    monkeypatch.setattr(
        "trainer.engines.torch.engine.TorchEngine", lambda *given: built.append(given[3])
    )
    settings = Settings(SMALL, data=str(tmp_path), engine="cpu", budget=StepBudget(2))
    monkeypatch.setattr("trainer.run.open_prepared", lambda name: prepared)
    for plan in (None, Plan(tmp_path, (Wanted("rmsnorm", 2, 0.0),))):
        session = Session(replace(settings, record=plan))
        session.build()
        same = {name: built[-1][name].function is op.function for name, op in session.ops.items()}
        assert same == {name: plan is None or name != "rmsnorm" for name in session.ops}


def test_a_call_that_is_too_large_is_cut_along_its_independent_dim(
    prepared: Prepared, tmp_path: Path
) -> None:
    """A preset's logits may be gigabytes."""
    _, recorder = trained(prepared, every_op(tmp_path, (2,), limit_bytes=2**15))
    recorder.save(write, {})
    about, tensors = read(tmp_path / "softcap_cross_entropy.safetensors")
    start, count, whole = about["calls"][0]["part"]
    assert whole == SMALL.device_batch_size * SMALL.sequence
    assert 0 <= start <= whole - count
    vocab = prepared.vocab
    assert count == 2**15 // (4 * (2 * vocab + 1 + 2))
    assert tensors["0.input.logits"].shape == tensors["0.gradient.logits"].shape == (count, vocab)
    assert tensors["0.output.loss"].shape == tensors["0.incoming.loss"].shape == (count,)


def test_a_transposed_gradient_stays_transposed() -> None:
    """Attention hands gradients back with axes in another order; kernels have to cope with it."""
    record = Record(FOLDERS["rmsnorm"].target, 2, 0, 1, 0.5, 2**22)
    x = torch.randn(3, 5, 8, requires_grad=True)
    y = take(record, lambda x, eps: x * 2, (x, 2.0**-23))
    y.backward(torch.randn(5, 3, 8).transpose(0, 1))
    assert record.tensors["incoming.y"].stride() == (8, 24, 1)
    assert not record.awaited


def test_a_plan_that_the_run_cannot_fulfil_is_told(prepared: Prepared, tmp_path: Path) -> None:
    """Half a recording must not look like a whole one."""
    _, recorder = trained(prepared, every_op(tmp_path, (9,)), steps=2)
    with pytest.raises(EngineError, match="step 9 was to be recorded"):
        recorder.save(write, {})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def pipe() -> Iterator[tuple[int, Any]]:
    receive, send = os.pipe()

    def fill(text: str) -> None:
        os.write(send, text.encode())
        os.close(send)

    yield receive, fill
    os.close(receive)


def test_a_plan_comes_through_a_descriptor(pipe: tuple[int, Any], tmp_path: Path) -> None:
    """No command line tells a candidate at which step it is looked at."""
    plan = Plan(tmp_path, (Wanted("rmsnorm", 2, 0.25),))
    pipe[1](plan.as_json())
    assert read_plan(pipe[0]) == plan


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"folder": "x"}',
        '{"folder": "x", "calls": [{"op": "rmsnorm", "step": 1, "chance": 0.5}]}',
        '{"folder": "x", "calls": [{"op": "rmsnorm", "step": 2, "chance": 1.0}]}',
        '{"folder": "x", "calls": [{"op": "rmsnorm", "step": 2, "chance": 0, "more": 1}]}',
    ],
)
def test_a_plan_that_makes_no_sense_is_the_commands_fault(pipe: tuple[int, Any], text: str) -> None:
    """Told at once, not after the training."""
    pipe[1](text)
    with pytest.raises(UsageError, match="no plan can be read"):
        read_plan(pipe[0])


def test_the_command_records(
    prepared: Prepared,
    pipe: tuple[int, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole of train.py, with its own account of the run; an empty plan records nothing."""
    monkeypatch.setattr("trainer.run.open_prepared", lambda name: prepared)
    pipe[1](Plan(tmp_path, (Wanted("rmsnorm", 2, 0.0),)).as_json())
    flags = [*SHORT, "--skip-eval", "--no-checkpoint", f"--record={pipe[0]}"]
    for _ in range(2):  # the second time the descriptor is empty
        code, _, err = run_train(capsys, *flags)
        assert code == 0, err
    about, _ = read(tmp_path / "rmsnorm.safetensors")
    assert (about["op"], about["vocab"], about["steps"]) == ("rmsnorm", prepared.vocab, 2)
    assert about["ops"] == {name: op.sha256 for name, op in incumbents().items()}


def test_a_compiled_model_cannot_be_recorded(
    pipe: tuple[int, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A compiler replaces the calls that were to be recorded."""
    pipe[1](Plan(tmp_path, (Wanted("rmsnorm", 2, 0.0),)).as_json())
    code, _, err = run_train(capsys, *SHORT, "--compile", f"--record={pipe[0]}")
    assert code == 2
    assert "cannot see into a compiled model" in err
