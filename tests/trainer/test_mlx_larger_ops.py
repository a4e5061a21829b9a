"""The larger ops in the MLX engine: in parts by default, as a whole once one is let in."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from parity import drawn_batches, larger_ops, trained_looking
from small_run import SMALL

from kernels.spec import discover
from trainer.engines.mlx.engine import MLXEngine
from trainer.engines.mlx.model import GPT
from trainer.errors import UsageError
from trainer.ops import OpTable, resolve
from trainer.schedule import rates_at

VOCAB, STEPS = 61, 2
LAYERS = SMALL.depth * SMALL.accumulation * STEPS
GATED = sum(map(SMALL.has_value_embedding, range(SMALL.depth)))
CALLS = {
    "adamw_step": (2 + GATED) * STEPS,  # not for the lambdas
    "attention_prelude": LAYERS,
    "fused_mlp": LAYERS,
    "linear_softcap_cross_entropy": SMALL.accumulation * STEPS,
    "residual_rmsnorm": LAYERS,
}
"""Of each larger op, where it runs as a whole."""


def trained(ops: OpTable, dtype: mx.Dtype = mx.float32) -> tuple[dict[str, mx.array], Counter[str]]:
    """The weights after two steps, and how often each op was called."""
    calls: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            calls[name] += 1
            return function(*given)

        return call

    table = OpTable({n: replace(o, function=counted(n, o.function)) for n, o in ops.items()})
    engine = MLXEngine("mlx", SMALL, VOCAB, table)
    engine.model = GPT(SMALL, table, dtype)
    engine.weights = {n: mx.array(v) for n, v in trained_looking(SMALL, VOCAB).items()}
    for step in range(STEPS):
        engine.step(drawn_batches(SMALL, VOCAB, step), rates_at(SMALL, step, step / STEPS)).wait()
    return engine.weights, calls


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
def test_a_larger_op_as_a_whole_gives_the_bits_of_its_parts(dtype: mx.Dtype) -> None:
    """What verify and bench compare with has to be what the trainer does; and a whole one is called
    wherever the trainer has its work."""
    parts, calls = trained(resolve("mlx", ""), dtype)
    assert not calls.keys() & CALLS.keys()
    assert calls["rmsnorm"] == (2 + 2 * SMALL.depth) * SMALL.accumulation * STEPS
    assert calls["value_embed_gate"] == GATED * SMALL.accumulation * STEPS
    whole, calls = trained(resolve("mlx", "", larger_ops("mlx")), dtype)
    assert {name: calls[name] for name in CALLS} == CALLS
    for name, weight in parts.items():
        assert mx.array_equal(weight, whole[name]), name


def test_a_promoted_larger_op_takes_precedence_over_its_parts(tmp_path: Path) -> None:
    """In what is called and in what the log says; a contained op that is never called cannot be
    forced beside it, for its A/B would compare the incumbent with itself."""
    candidate = discover()["fused_mlp"].path / "candidates" / "mlx.py"
    (tmp_path / "mine.py").write_bytes(candidate.read_bytes())
    registry = tmp_path / "promoted.toml"
    registry.write_text(
        '[[promotion]]\nop = "fused_mlp"\nengine = "mlx"\nhardware = "chip"\nfile = "mine.py"\n'
        f'candidate_sha256 = "{hashlib.sha256(candidate.read_bytes()).hexdigest()}"\n'
    )
    table = resolve("mlx", "chip", registry=registry)
    assert table["fused_mlp"].reason.startswith("promoted ")
    assert table["relu_squared"].reason == "incumbent; never called: fused_mlp contains it"
    _, calls = trained(table)
    assert calls["fused_mlp"] == CALLS["fused_mlp"]
    assert calls["relu_squared"] == calls["attention_prelude"] == 0
    forced = {"relu_squared": discover()["relu_squared"].incumbent("mlx")}
    with pytest.raises(UsageError, match="--op relu_squared would never be called"):
        resolve("mlx", "chip", forced, registry)
    assert resolve("mlx", "another chip", registry=registry)["fused_mlp"].in_parts


@pytest.mark.parametrize("name", [*CALLS, "value_embed_gate"])
def test_a_starting_candidate_trains_as_the_incumbent_does(name: str) -> None:
    """As `--op` runs it: with its gradient inside the trainer's, to rounding."""
    candidate = discover()[name].path / "candidates" / "mlx.py"
    ours, calls = trained(resolve("mlx", "", {name: candidate}))
    theirs, _ = trained(resolve("mlx", ""))
    assert calls[name] > 0
    # Adam divides a gradient of next to nothing by its own size; so not element by element.
    for weight, other in ((ours[n], theirs[n]) for n in theirs):
        apart = float(mx.square(weight - other).mean().item()) ** 0.5
        assert apart <= 1e-3 * float(mx.square(other).mean().item()) ** 0.5
