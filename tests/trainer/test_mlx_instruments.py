"""What measures and records the MLX engine: fences at the seams, recorded calls, free stand-ins."""

from __future__ import annotations

import io
import itertools
import json
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from small_run import SHORT, SMALL, run_train, small_data, small_stream

from kernels.spec import discover, load_module
from trainer import trace
from trainer.ablation import Ablation
from trainer.data import Prepared
from trainer.engines.mlx import stand_in
from trainer.engines.mlx.engine import MLXEngine
from trainer.engines.mlx.recording import take, write
from trainer.engines.mlx.seams import Fences, fenced
from trainer.errors import EngineError
from trainer.loop import take as batches
from trainer.ops import OpTable, resolve
from trainer.recording import Plan, Recorder, Wanted
from trainer.schedule import rates_at

OPS = resolve("mlx", "")
CALLED = [name for name, op in OPS.items() if not op.in_parts]
FOLDERS = discover()
ONLY_FORWARD = {"muon_update", "muon_orthogonalize", "adamw", "adamw_lambdas", "adamw_step"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return small_data(tmp_path_factory.mktemp("data"))


def small_mlx(prepared: Prepared, ops: OpTable = OPS) -> MLXEngine:
    return MLXEngine("mlx", SMALL, prepared.vocab, ops, compile_model=False)


def losses_of(engine: Any, prepared: Prepared, steps: int = 3) -> list[float]:
    stream = small_stream(prepared)
    found = []
    for step in range(steps):
        micro_batches = batches(stream, SMALL.accumulation)
        found.append(engine.step(micro_batches, rates_at(SMALL, step, 0.0)).wait())
        engine.token_losses(*micro_batches[0])
    return found


def test_fences_change_no_bit_of_the_training(prepared: Prepared) -> None:
    """What is measured must be what happens when nobody looks."""
    plain = losses_of(small_mlx(prepared), prepared)
    with fenced(Fences()):
        measured = losses_of(small_mlx(prepared), prepared)
    assert measured == plain


def test_the_clocks_of_seams_never_overlap(prepared: Prepared) -> None:
    """Else a millisecond would count for two ops; and each has its backward pass, once."""
    with fenced(Fences()) as fences:
        small_mlx(prepared).step(batches(small_stream(prepared), 1), rates_at(SMALL, 0, 0.0))
    scopes = [e for e in fences.events if e["name"].startswith("op:")]
    nodes = [e for e in fences.events if e["name"].startswith("autograd::")]
    spans = sorted((e["ts"], e["ts"] + e["dur"], e["name"]) for e in (*scopes, *nodes))
    for (_, end, name), (start, _, inner) in itertools.pairwise(spans):
        assert end <= start or (name, inner) == ("op:muon_update", "op:muon_orthogonalize")
    makers = {
        e["args"]["Sequence number"]: e["name"]
        for e in fences.events
        if e["cat"] == "cpu_op" and e not in nodes
    }
    order = [e["args"]["Sequence number"] for e in nodes]
    assert len(set(order)) == len(order)
    missing = {name for number, name in makers.items() if number not in order}
    assert missing <= ONLY_FORWARD


def test_every_seam_is_counted(
    prepared: Prepared,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `kernel-lab profile` reads, ablation included: a seam that is gone shows here."""
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(prepared.folder.parent.parent))
    monkeypatch.setattr(trace, "SETTLING_STEPS", 1)
    path = tmp_path / "trace.json"
    flags = [flag for flag in SHORT if not flag.startswith("--engine")]
    flags += ["--engine=mlx", f"--data={prepared.name}", f"--trace={path}", "--trace-steps=1"]
    code, _, err = run_train(capsys, *flags, "--ablate")
    assert code == 0, err
    counts = Counter(e["name"] for e in json.loads(path.read_text())["traceEvents"])
    layers = SMALL.accumulation * SMALL.depth
    assert counts["step"] == counts["op:data"] == 1
    assert counts["op:rmsnorm"] == layers * 2 + 2 * SMALL.accumulation
    for name in (
        "sliding_window_attention",
        "qkv_projection",
        "residual_mix",
        "mlp_up",
        "mlp_down",
    ):
        assert counts[f"op:{name}"] == layers
    assert counts["op:adamw"] == counts["op:muon_update"] == counts["op:muon_orthogonalize"] == 4
    assert counts["op:gradient_accumulation"] == SMALL.accumulation - 1
    meta = json.loads((tmp_path / "trace.json.meta.json").read_text())
    assert meta["compute_dtype"] == "float32"
    assert sorted(meta["ablated_step_ms"]) == sorted(CALLED)
    assert {len(pairs) for pairs in meta["ablated_step_ms"].values()} == {1}


def test_a_free_op_leaves_the_rest_of_the_step(prepared: Prepared) -> None:
    """Every other op is computed as often as before, forward and backward: were a stand-in to cut
    the graph, ablation would count the work that leads to the op as the op's."""
    ablation = Ablation(stand_in)
    engine = small_mlx(prepared, ablation.wrap(OPS))
    micro_batches = batches(small_stream(prepared), SMALL.accumulation)
    snapshot, rates = engine.snapshot(), rates_at(SMALL, 0, 0.0)
    plain = engine.step(micro_batches, rates).wait()

    def events() -> Counter[str]:
        engine.restore(snapshot)
        with fenced(Fences()) as fences:
            engine.step(micro_batches, rates).wait()
        return Counter(e["name"] for e in fences.events)

    expected = events()
    assert sorted(ablation.called) == sorted(CALLED)
    for name in CALLED:
        with ablation.without(name):
            assert events() == expected, name
            assert events() == expected, name  # the first of a shape still calls the op
        engine.restore(snapshot)
        assert engine.step(micro_batches, rates).wait() == plain, name


def test_a_free_op_still_asks_for_what_leads_to_it() -> None:
    """MLX computes only what is waited for: the work before a free op must not be free as well."""
    ablation = Ablation(stand_in)
    free = ablation.wrap(OPS).rmsnorm
    x = mx.random.normal((2, 3, 8))
    with ablation.without("rmsnorm"):
        free(x, 1e-6)
        y = free(mx.exp(x), 1e-6)
        _, (gradient,) = mx.vjp(lambda x: [mx.sin(free(x, 1e-6))], [x], [mx.ones_like(x)])
    assert "Exp" in drawn(y)
    assert "Cos" in drawn(gradient)
    assert np.allclose(np.array(gradient), stand_in.GRADIENT)


def drawn(array: mx.array) -> str:
    """The operations that an array waits for, as MLX draws them."""
    drawing = io.StringIO()
    mx.export_to_dot(drawing, array)
    return drawing.getvalue()


def with_leaves(
    function: Any, inputs: list[mx.array], places: list[int], scalars: Any, *leaves: mx.array
) -> list[mx.array]:
    """The outputs of a call, as a function of the inputs that have gradients."""
    given = list(inputs)
    for place, leaf in zip(places, leaves, strict=True):
        given[place] = leaf
    result = function(*given, *scalars)
    return list(result) if isinstance(result, tuple) else [result]


def test_a_recorded_call_is_the_call_itself(prepared: Prepared, tmp_path: Path) -> None:
    """Inputs, outputs and both gradients belong together, under gradient accumulation too; and
    what is recorded is what happens when nobody looks."""
    plan = Plan(tmp_path, tuple(Wanted(op, step, 0.6) for op in CALLED for step in (2, 3)))
    recorder = Recorder(plan, take)
    engine = small_mlx(prepared, recorder.wrap(OPS))
    assert losses_of(recorder.watch(engine), prepared) == losses_of(small_mlx(prepared), prepared)
    recorder.save(write, {})
    for op in CALLED:
        arrays, metadata = mx.load(str(tmp_path / f"{op}.safetensors"), return_metadata=True)
        calls = json.loads(metadata["recording"])["calls"]
        assert [call["step"] for call in calls] == [2, 3]
        for number, call in enumerate(calls):
            prefix = f"{number}."
            kept = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
            check_call(op, call, kept)


def check_call(op: str, call: dict[str, Any], kept: dict[str, mx.array]) -> None:
    """The incumbent makes of the inputs and incoming gradients what was kept of its results."""
    target = FOLDERS[op].target
    function = getattr(load_module(FOLDERS[op].incumbent("mlx")), op)
    for told, constant in zip(call["scalars"], target.scalars.values(), strict=True):
        assert told == constant or (constant is None and told in SMALL.windows), op
    inputs = [kept[f"input.{i.name}"] for i in target.inputs]
    leaves = [i for i, one in enumerate(target.inputs) if one.differentiable]
    incoming = [kept[f"incoming.{o.name}"] for o in target.outputs if leaves]
    assert all(bool(mx.any(gradient != 0)) for gradient in incoming), op
    called = partial(with_leaves, function, inputs, leaves, call["scalars"])
    given = [inputs[i] for i in leaves]
    results, gradients = mx.vjp(called, given, incoming) if leaves else (called(), [])
    for output, found in zip(target.outputs, results, strict=True):
        assert mx.array_equal(found, kept[f"output.{output.name}"]), op
    for i, found in zip(leaves, gradients, strict=True):
        gradient = kept[f"gradient.{target.inputs[i].name}"]
        assert mx.allclose(found, gradient, rtol=1e-5, atol=1e-8), op


def test_a_large_call_is_cut_and_bfloat16_survives(tmp_path: Path) -> None:
    """As on Metal, where activations are bfloat16: numpy does not know them."""
    plan = Plan(tmp_path, (Wanted("relu_squared", 2, 0.5),), limit_bytes=4 * 2 * 3 * 8)
    recorder = Recorder(plan, take)
    op = recorder.wrap(OPS).relu_squared
    x = mx.random.normal((4, 3, 8)).astype(mx.bfloat16)
    for _ in range(2):
        recorder.step_begins()
        mx.eval(mx.vjp(lambda x: [op(x)], [x], [mx.ones_like(x)]))
        recorder.step_ends()
    recorder.save(write, {})
    arrays = mx.load(str(tmp_path / "relu_squared.safetensors"))
    kept = arrays["0.input.x"]
    assert (kept.dtype, kept.shape) == (mx.bfloat16, (1, 3, 8))
    assert any(mx.array_equal(kept[0], row) for row in x)
    assert arrays["0.gradient.x"].shape == (1, 3, 8)


def test_an_op_that_cuts_the_gradient_is_told(prepared: Prepared, tmp_path: Path) -> None:
    """A recording without the gradient would leave nothing to check."""
    cut = replace(
        OPS["relu_squared"], function=lambda x: mx.stop_gradient(mx.square(mx.maximum(x, 0)))
    )
    plan = Plan(tmp_path, (Wanted("relu_squared", 2, 0.5),))
    recorder = Recorder(plan, take)
    engine = small_mlx(prepared, recorder.wrap(OpTable({**OPS, "relu_squared": cut})))
    losses_of(recorder.watch(engine), prepared)
    with pytest.raises(EngineError, match=r"relu_squared left out gradient\.x"):
        recorder.save(write, {})
