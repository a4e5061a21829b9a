"""The MLX engine by itself and beside the torch engine: weights, checkpoints, memory, choices."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
from parity import distance, trained_looking
from small_run import SHORT, SMALL, result, run_train, small_data, small_engine, small_stream

from trainer import checkpoint
from trainer.config import TrainConfig
from trainer.data import Prepared
from trainer.engines.mlx import choices
from trainer.engines.mlx.engine import MLXEngine
from trainer.engines.mlx.model import GPT
from trainer.errors import EngineError, UsageError
from trainer.evaluate import evaluate
from trainer.loop import take, warm_up
from trainer.ops import resolve
from trainer.parameters import shapes
from trainer.schedule import Rates, rates_at

OPS = resolve("mlx", "")
RATES = Rates(learning_rate_scale=1.0, muon_momentum=0.9, weight_decay=0.1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """An engine sets MLX's limits for the whole process."""
    torch.set_num_threads(1)
    memory, cache = mx.set_memory_limit(2**40), mx.set_cache_limit(2**40)
    mx.set_memory_limit(memory)
    mx.set_cache_limit(cache)
    yield
    mx.set_memory_limit(memory)
    mx.set_cache_limit(cache)


def mlx_engine(
    prepared: Prepared, config: TrainConfig = SMALL, compile_model: bool | None = None
) -> MLXEngine:
    """A fresh engine."""
    return MLXEngine("mlx", config, prepared.vocab, OPS, compile_model)


def train_steps(engine: MLXEngine, prepared: Prepared, steps: int, first: int = 0) -> list[float]:
    """The losses of so many steps from a place in the data."""
    stream = small_stream(prepared, engine.config)
    take(stream, first * engine.config.accumulation)
    return [
        engine.step(
            take(stream, engine.config.accumulation), rates_at(engine.config, step, step / 8)
        ).wait()
        for step in range(first, first + steps)
    ]


def test_a_seed_means_the_same_weights_on_both_engines(prepared: Prepared) -> None:
    """Bit for bit: only then does a pair of runs differ by what computed them alone."""
    ours, theirs = mlx_engine(prepared), small_engine(prepared)
    assert ours.parameters == theirs.parameters
    named = dict(theirs.model.named_parameters())
    assert named.keys() == ours.weights.keys() == shapes(SMALL, prepared.vocab).keys()
    for name, weight in ours.weights.items():
        assert np.array_equal(np.array(weight), named[name].detach().numpy()), name


def test_a_run_goes_on_from_the_other_engines_checkpoint(
    prepared: Prepared, tmp_path: Path
) -> None:
    """Weights, moments and step counts mean the same: after three steps on one engine and three on
    the other, the weights are those of six steps on one, as far as rounding goes."""
    torch_engine, crossed = small_engine(prepared), small_engine(prepared)
    train_steps(torch_engine, prepared, 3)
    torch_engine.save(tmp_path / "torch", {})
    ours = mlx_engine(prepared)
    ours.load(tmp_path / "torch")
    train_steps(ours, prepared, 3, first=3)
    ours.save(tmp_path / "mlx", {})
    crossed.load(tmp_path / "mlx")
    train_steps(torch_engine, prepared, 3, first=3)
    expected = dict(torch_engine.model.named_parameters())
    for name, weight in crossed.model.named_parameters():
        assert distance(weight.detach().numpy(), expected[name].detach().numpy()) < 1e-3, name
    names = [checkpoint.load_optimizer(tmp_path / one).keys() for one in ("torch", "mlx")]
    assert names[0] == names[1]


def test_both_engines_evaluate_a_checkpoint_alike(prepared: Prepared, tmp_path: Path) -> None:
    """The same rows, packed by the same code, and the same exact sums: 1e-6 bits per byte."""
    ours, theirs = mlx_engine(prepared), small_engine(prepared)
    train_steps(ours, prepared, 4)
    ours.save(tmp_path / "c", {})
    theirs.load(tmp_path / "c", with_optimizer=False)
    found, expected = (evaluate(engine, prepared, 640) for engine in (ours, theirs))
    assert (found.tokens, found.bytes) == (expected.tokens, expected.bytes)
    assert found.val_bpb == pytest.approx(expected.val_bpb, abs=1e-6)


def test_a_checkpoint_comes_back_bit_for_bit(prepared: Prepared, tmp_path: Path) -> None:
    """A run that was stopped and resumed ends as if it never had."""
    whole, part, resumed = (mlx_engine(prepared) for _ in range(3))
    losses = train_steps(whole, prepared, 4)
    train_steps(part, prepared, 2)
    part.save(tmp_path / "part", {})
    resumed.load(tmp_path / "part")
    assert train_steps(resumed, prepared, 2, first=2) == losses[2:]
    assert all(mx.array_equal(whole.weights[name], w) for name, w in resumed.weights.items())


def test_warm_up_trains_nothing(prepared: Prepared) -> None:
    """Arrays are immutable, but an update may be written into the memory of the old ones."""
    engine = mlx_engine(prepared)
    before = {name: np.array(weight) for name, weight in engine.weights.items()}
    warm_up(engine, small_stream(prepared), SMALL)
    assert all(np.array_equal(before[name], w) for name, w in engine.weights.items())
    assert not any(np.array(moment).any() for moment in engine.moments.values())


def test_accumulated_gradients_are_those_of_one_large_batch(prepared: Prepared) -> None:
    """Every micro-batch counts, and all of them alike."""
    engine = mlx_engine(prepared)
    engine.weights = {n: mx.array(v) for n, v in trained_looking(SMALL, prepared.vocab).items()}
    micro_batches = take(small_stream(prepared), 3)
    joined = [tuple(np.concatenate(part) for part in zip(*micro_batches, strict=True))]
    loss, gradients = engine.accumulated(micro_batches)
    expected_loss, expected = engine.accumulated(joined)  # type: ignore[arg-type]
    assert float(loss.item()) == pytest.approx(float(expected_loss.item()), rel=1e-6)
    for name, gradient in gradients.items():
        size = float(mx.abs(expected[name]).max().item())
        assert float(mx.abs(gradient - expected[name]).max().item()) <= 1e-4 * size, name


def peak_of_a_step(prepared: Prepared, micro_batches: int) -> float:
    """Bytes above what an engine of an earlier test may still hold."""
    gc.collect()
    before = mx.get_active_memory()
    config = replace(SMALL, total_batch_size=micro_batches * 64)
    engine = mlx_engine(prepared, config)
    mx.reset_peak_memory()
    train_steps(engine, prepared, 2)
    return mx.get_peak_memory() - before


def test_memory_does_not_grow_with_the_micro_batches(prepared: Prepared) -> None:
    """A lazy graph of all of them would hold every activation until the end of the step."""
    assert peak_of_a_step(prepared, 12) < 1.1 * peak_of_a_step(prepared, 3)


def test_memory_does_not_grow_from_step_to_step(prepared: Prepared) -> None:
    """A reference to a step's graph, kept anywhere, would fill the machine in minutes."""
    gc.collect()
    engine = mlx_engine(prepared)
    train_steps(engine, prepared, 3)
    before = mx.get_active_memory()
    train_steps(engine, prepared, 5, first=3)
    assert mx.get_active_memory() <= 1.01 * before


@pytest.mark.timeout(900)  # the first time, g++ builds 56 kernels: 40 s of one core
def test_a_compiled_step_sees_every_rate(prepared: Prepared) -> None:
    """A rate that was compiled in as a constant would never fall: Muon without a warm-down, the
    fault of a public port."""
    config = replace(SMALL, depth=1, aspect_ratio=48, window_pattern="L")
    plain, compiled = (mlx_engine(prepared, config, flag) for flag in (False, True))
    assert compiled.notes["compile"].value == "on"
    start = {name: np.array(weight) for name, weight in plain.weights.items()}
    batch = take(small_stream(prepared, config), config.accumulation)
    still = Rates(learning_rate_scale=0.0, muon_momentum=0.5, weight_decay=0.3)
    for rates in (still, still, Rates(0.5, 0.9, 0.2), RATES, Rates(0.1, 0.6, 0.0)):
        for engine in (plain, compiled):
            engine.step(batch, rates).wait()
        if rates is still:
            assert all(np.array_equal(start[name], w) for name, w in compiled.weights.items())
    for name, weight in compiled.weights.items():
        assert distance(np.array(weight), np.array(plain.weights[name])) < 1e-5, name
        assert name.endswith("value_gate") or not np.array_equal(start[name], weight), name


@pytest.mark.parametrize(
    ("sequence", "window"), [(40, 20), (64, 5), (50, 33), (33, 16), (40, 1), (200, 100)]
)
def test_windowed_attention_equals_a_full_mask(sequence: int, window: int) -> None:
    """Blocks, their masks and their edges, for windows that divide nothing evenly too."""
    generator = np.random.default_rng(3)
    q, k, v, incoming = (
        mx.array(generator.standard_normal((2, sequence, 2, 8), np.float32)) for _ in range(4)
    )
    position = mx.arange(sequence)
    back = position[:, None] - position[None, :]
    mask = (back >= 0) & (back <= window)

    def plain(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        scores = mx.einsum("bihc,bjhc->bhij", q, k) / 8**0.5
        weights = mx.softmax(mx.where(mask, scores, -mx.inf), axis=-1)
        return mx.einsum("bhij,bjhc->bihc", weights, v)

    def attend(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return OPS.sliding_window_attention(q, k, v, window)

    ours, our_gradients = mx.vjp(attend, [q, k, v], [incoming])
    theirs, their_gradients = mx.vjp(plain, [q, k, v], [incoming])
    for mine, other in zip([*ours, *our_gradients], [*theirs, *their_gradients], strict=True):
        assert float(mx.abs(mine - other).max().item()) < 1e-5


def test_a_window_saves_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports put a mask over the whole square, or none at all: counted are pairs of positions that
    are scored, 0.5625 of the square for a window of half the sequence."""
    scored = []
    whole = mx.fast.scaled_dot_product_attention

    def counting(q: mx.array, k: mx.array, v: mx.array, **how: object) -> mx.array:
        scored.append(q.shape[2] * k.shape[2])
        return whole(q, k, v, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", counting)
    x = mx.zeros((1, 256, 1, 8))
    OPS.sliding_window_attention(x, x, x, 128)
    assert sum(scored) == 0.5625 * 256**2


def test_bfloat16_activations_train_float32_weights(prepared: Prepared) -> None:
    """As on Metal. A lambda in float32 must not widen the stream, and small updates must not be
    rounded away."""
    narrow, exact = (GPT(SMALL, OPS, dtype) for dtype in (mx.bfloat16, mx.float32))
    seen = []
    rmsnorm = narrow.ops.rmsnorm
    narrow.ops = resolve("mlx", "")
    narrow.ops.rmsnorm = lambda x, eps: (seen.append(x.dtype), rmsnorm(x, eps))[1]  # type: ignore
    engine = mlx_engine(prepared)
    (inputs, targets), *_ = take(small_stream(prepared), 1)
    batch = mx.array(inputs), mx.array(targets)
    losses = narrow.losses(engine.weights, *batch)
    assert set(seen) == {mx.bfloat16}
    assert len(seen) == 2 + 2 * SMALL.depth
    assert losses.dtype == mx.float32
    assert distance(np.array(losses), np.array(exact.losses(engine.weights, *batch))) < 0.01
    engine.model = narrow
    first = train_steps(engine, prepared, 6)
    assert {w.dtype for w in (*engine.weights.values(), *engine.moments.values())} == {mx.float32}
    assert first[-1] < first[0]


def test_limits_follow_the_machine() -> None:
    """MLX's own would let a run swap, or page its buffers in at every step."""
    choice = choices.memory("cpu")
    limit, cache = mx.set_memory_limit(2**30), mx.set_cache_limit(2**30)
    assert 0 < limit <= 0.75 * 2**50
    assert choice.value == f"{limit / 2**30:.1f} GiB"
    assert cache == limit // 2


def test_compilation_asked_for_without_a_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as an error from inside MLX at the first step."""
    assert choices.compilation("cpu", None).value == "off"
    assert choices.compilation("gpu", None).value == "on"
    assert choices.compilation("gpu", False) == ("off", "--no-compile")
    monkeypatch.setattr(choices.shutil, "which", lambda name: None)
    assert choices.compilation("gpu", True).value == "on"
    with pytest.raises(EngineError, match="g\\+\\+"):
        choices.compilation("cpu", True)


def test_a_model_too_narrow_for_its_gates_is_refused(prepared: Prepared) -> None:
    """As on torch, with the flags to change."""
    with pytest.raises(UsageError, match="channels"):
        mlx_engine(prepared, replace(SMALL, depth=1, aspect_ratio=16))


def mlx_flags(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags of train.py for two steps on MLX."""
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(prepared.folder.parent.parent))
    flags = [flag for flag in SHORT if not flag.startswith("--engine")]
    return [*flags, "--engine=mlx", f"--data={prepared.name}"]


def test_train_py_runs_on_mlx_with_the_same_output(
    prepared: Prepared,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Same keys as torch, a checkpoint, and the same bits when run again."""
    flags = mlx_flags(prepared, monkeypatch)
    saved = f"--checkpoint={tmp_path / 'c'}"
    first, again = result(capsys, *flags, saved), result(capsys, *flags, "--no-checkpoint")
    on_torch = result(capsys, *flags, "--engine=cpu", "--no-checkpoint")
    assert first.keys() == on_torch.keys()
    assert first["engine"] == "mlx"
    assert first["train_loss"] == again["train_loss"]
    assert first["train_loss"] == pytest.approx(on_torch["train_loss"], rel=1e-5)
    assert first["val_bpb"] == pytest.approx(on_torch["val_bpb"], abs=1e-4)
    assert first["ops"]["rmsnorm"]["path"].endswith("incumbent_mlx.py")
    assert checkpoint.load_state(tmp_path / "c")["engine"] == "mlx"


def test_an_op_in_torch_is_blamed_by_name(
    prepared: Prepared,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A candidate in the wrong framework must not look like a fault of the engine."""
    op = tmp_path / "mine.py"
    op.write_text("import torch\n\n\ndef relu_squared(x):\n    return torch.relu(x) ** 2\n")
    flags = [*mlx_flags(prepared, monkeypatch), "--no-checkpoint", f"--op=relu_squared={op}"]
    code, _, err = run_train(capsys, *flags)
    assert code == 3
    assert "other ops than the incumbents (relu_squared)" in err


def test_an_engine_imports_its_own_framework_only() -> None:
    """Torch takes seconds and hundreds of megabytes that an MLX run would pay for nothing."""
    code = (
        "import sys; import trainer.run; from trainer.engines import build;"
        "assert not {'torch', 'mlx'} & sys.modules.keys();"
        "from trainer.config import preset; from trainer.ops import resolve;"
        "build('mlx', preset('tour-mlx'), 99, resolve('mlx', ''));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
