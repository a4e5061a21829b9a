"""How far the MLX engine is from the torch engine, next to what float32 itself can tell.

    rows = measure(config, vocab, seed=10, steps=20)        # whole=True: larger ops run as a whole
    rows[0].name, rows[0].error, rows[0].noise

The same weights and tokens go through the torch model in float64 with the oracles of `kernels/`,
through the torch engine in float32, and through the MLX engine. An error is the root mean square
distance from float64, relative to the root mean square of the tensor. The noise of a tensor is the
largest error of four torch runs in float32: one as it is, three whose first weights are off by one
unit in the last place, up or down by chance. Of an honest float32 program no more can be asked, and
over 20 steps it grows as the training amplifies it; no tolerance is typed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from kernels.spec import discover, load_module
from trainer.config import TrainConfig
from trainer.engines.mlx.engine import MLXEngine, mx
from trainer.engines.torch.model import GPT
from trainer.engines.torch.optim import MuonAdamW
from trainer.loop import MicroBatch
from trainer.ops import Op, OpTable, resolve
from trainer.parameters import initial
from trainer.schedule import rates_at

Arrays = dict[str, np.ndarray]

FACTOR = 10
"""Errors may be so many times the noise. Measured with three seeds: 4.4 at most; a momentum of
0.851 for 0.85 comes out at more than 100."""
NOISE_RUNS = 4


@dataclass(frozen=True)
class Row:
    """One tensor: the MLX engine's error and the noise of float32."""

    name: str
    error: float
    noise: float

    @property
    def agrees(self) -> bool:
        """Whether float32 explains the difference."""
        return self.error <= FACTOR * self.noise


def measure(
    config: TrainConfig, vocab: int, seed: int, steps: int, whole: bool = False
) -> list[Row]:
    """Logits, losses, every gradient of the first step, and every weight after `steps` steps.

    With `whole` both engines run their larger ops as a whole, not in parts.
    """
    weights = trained_looking(config, vocab)
    batches = [drawn_batches(config, vocab, seed + step % 4) for step in range(steps)]
    exact = torch_run(config, weights, batches, torch.float64)
    found = mlx_run(config, weights, batches, whole)
    noise = [
        torch_run(config, _nudged(weights, number), batches, torch.float32, whole)
        for number in range(NOISE_RUNS)
    ]
    return [
        Row(name, distance(found[name], value), max(distance(n[name], value) for n in noise))
        for name, value in exact.items()
    ]


def distance(found: np.ndarray, exact: np.ndarray) -> float:
    """Root mean square of the difference, relative to that of the exact values."""
    size = np.sqrt(np.square(exact).mean())
    apart = np.sqrt(np.square(found.astype(np.float64) - exact).mean())
    return float(apart / size) if size else float(apart)


def trained_looking(config: TrainConfig, vocab: int) -> Arrays:
    """Away from the initial zeros, which would hide whole branches."""
    generator = np.random.default_rng(1)
    return {
        name: values + np.float32(0.05) * generator.standard_normal(values.shape, np.float32)
        for name, values in initial(config, vocab, 0)
    }


def torch_run(
    config: TrainConfig,
    weights: Arrays,
    batches: Sequence[Sequence[MicroBatch]],
    dtype: torch.dtype,
    whole: bool = False,
) -> Arrays:
    """What the torch engine computes, written with its model and optimizer so that it can do so in
    float64, too, where the ops are the oracles."""
    exact = dtype == torch.float64
    ops = oracles() if exact else resolve("", "", larger_ops("torch") if whole else None)
    model = GPT(config, len(weights["head"]), ops, dtype).to(dtype)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, values in weights.items():
            parameters[name].copy_(torch.from_numpy(values))
    adam_step = None if exact else ops.whole("adamw_step")
    optimizer = MuonAdamW(model, config, ops["muon_orthogonalize"].function, dtype, adam_step)
    results: Arrays = {}
    for step, micro_batches in enumerate(batches):
        losses = []
        for inputs, targets in micro_batches:
            loss = model(torch.from_numpy(inputs), torch.from_numpy(targets))
            loss.backward(torch.full_like(loss, 1 / (loss.numel() * len(micro_batches))))
            losses.append(loss.detach().numpy())
        if step == 0:
            logits = model.logits(torch.from_numpy(batches[0][0][0])).detach().numpy()
            results |= {"logits": logits, "losses": np.concatenate(losses)}
            results |= {f"gradient {n}": p.grad.numpy().copy() for n, p in parameters.items()}
        optimizer.step(rates_at(config, step, step / len(batches)))
        optimizer.clear_gradients()
    return results | {f"weight {n}": p.detach().numpy() for n, p in parameters.items()}


def mlx_run(
    config: TrainConfig,
    weights: Arrays,
    batches: Sequence[Sequence[MicroBatch]],
    whole: bool = False,
) -> Arrays:
    """The same from the MLX engine."""
    ops = resolve("mlx", "", larger_ops("mlx") if whole else None)
    engine = MLXEngine("mlx", config, len(weights["head"]), ops)
    engine.weights = {name: mx.array(values) for name, values in weights.items()}
    logits = engine.model.logits(engine.weights, mx.array(batches[0][0][0]))
    losses = np.concatenate([engine.token_losses(*batch).reshape(-1) for batch in batches[0]])
    _, gradients = engine.accumulated(batches[0])
    results: Arrays = {"logits": np.array(logits), "losses": losses}
    results |= {f"gradient {name}": np.array(array) for name, array in gradients.items()}
    for step, micro_batches in enumerate(batches):
        engine.step(micro_batches, rates_at(config, step, step / len(batches))).wait()
    return results | {f"weight {name}": np.array(array) for name, array in engine.weights.items()}


def larger_ops(framework: Literal["torch", "mlx"]) -> dict[str, Path]:
    """The incumbents of the targets with parts, to be forced on a run."""
    return {n: f.incumbent(framework) for n, f in discover().items() if f.target.parts}


def oracles() -> OpTable:
    """The references of all targets as ops."""
    return OpTable(
        {
            name: Op(name, getattr(load_module(folder.reference), name), "", folder.reference, "")
            for name, folder in discover().items()
        }
    )


def groups(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The rows by kind of tensor, in the order of the model."""
    kinds = {
        "embeddings": ("token_embedding", "value_embeddings"),
        "attention matrices": (".query", ".key", ".value", ".attention_out"),
        "MLP matrices": (".up", ".down"),
        "value gates": (".value_gate",),
        "head": (" head",),
        "lambdas": ("_lambdas",),
    }
    yield "logits and losses", [row for row in rows if row.name in ("logits", "losses")]
    for what in ("gradient", "weight"):
        for kind, words in kinds.items():
            yield (
                f"{what}s: {kind}",
                [
                    row
                    for row in rows
                    if row.name.startswith(what)
                    and (row.name.endswith(words) or any(f" {w}." in row.name for w in words))
                ],
            )


def drawn_batches(config: TrainConfig, vocab: int, seed: int) -> list[MicroBatch]:
    """The micro-batches of one step, of random tokens."""
    generator = np.random.default_rng(seed)
    shape = (config.device_batch_size, config.sequence)
    return [
        (generator.integers(0, vocab, shape), generator.integers(0, vocab, shape))
        for _ in range(config.accumulation)
    ]


def _nudged(weights: Arrays, number: int) -> Arrays:
    """Each weight moved to a neighbouring float32, up or down; number 0 moves none."""
    if number == 0:
        return weights
    generator = np.random.default_rng(100 + number)
    ends = np.array([-np.inf, np.inf], np.float32)
    return {n: np.nextafter(v, generator.choice(ends, v.shape)) for n, v in weights.items()}
