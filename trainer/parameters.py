"""The weights of the model as both engines have them: names, shapes, first values, trainers.

    for name, values in initial(config, vocab, seed): ...     # float32 arrays
    cos, sin = rotations(config)
    adam_rules(config);  muon_stacks(config)

Whatever must be the same for a checkpoint, or an A/B pair, to mean the same on each engine stands
here and only here. Weights are drawn with numpy: a seed gives the same ones on every engine, device
and processor, where each framework's own generator would give others. Imports no framework.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainer.config import VALUE_GATE_CHANNELS, TrainConfig

HEAD_STD = 0.001
EMBEDDING_LAMBDA = 0.1
SCALE_WIDTH = 768
"""AdamW's embedding and head rates hold at this width; elsewhere times (width / 768)^-0.5."""
RESIDUAL_LR_RATIO = 0.01
"""The residual lambdas learn at this share of `scalar_lr`: they multiply the whole stream."""
EMBEDDING_LAMBDA_BETA1 = 0.96

Shape = tuple[int, ...]


def shapes(config: TrainConfig, vocab: int) -> dict[str, Shape]:
    """Every weight by name, in the order in which they are drawn. Matrices are [out, in]."""
    table = (vocab, config.width)
    layers = range(config.depth)
    found: dict[str, Shape] = {"token_embedding": table, "head": table}
    for layer in layers:
        found |= {f"layers.{layer}.{name}": shape for name, shape in _block(config, layer).items()}
    found |= {f"value_embeddings.{i}": table for i in layers if config.has_value_embedding(i)}
    return found | {"residual_lambdas": (config.depth,), "embedding_lambdas": (config.depth,)}


def _block(config: TrainConfig, layer: int) -> dict[str, Shape]:
    width = config.width
    square = ("query", "key", "value", "attention_out")
    found: dict[str, Shape] = dict.fromkeys(square, (width, width))
    found |= {"up": (4 * width, width), "down": (width, 4 * width)}
    if config.has_value_embedding(layer):
        found["value_gate"] = (config.heads, VALUE_GATE_CHANNELS)
    return found


def initial(config: TrainConfig, vocab: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Fresh weights, as upstream: the blocks' outputs start at zero, so do the value gates."""
    generator = np.random.default_rng(seed)
    bound = 3**0.5 * config.width**-0.5  # a uniform of standard deviation 1 / sqrt(width)
    for name, shape in shapes(config, vocab).items():
        yield name, _drawn(name, shape, bound, generator)


def _drawn(name: str, shape: Shape, bound: float, generator: np.random.Generator) -> np.ndarray:
    constants = {"residual_lambdas": 1.0, "embedding_lambdas": EMBEDDING_LAMBDA}
    deviations = {"token_embedding": 1.0, "head": HEAD_STD}
    if name in constants:
        return np.full(shape, constants[name], np.float32)
    if name in deviations:
        return generator.standard_normal(shape, np.float32) * np.float32(deviations[name])
    if name.endswith(("attention_out", "down", "value_gate")):
        return np.zeros(shape, np.float32)
    return (2 * generator.random(shape, np.float32) - 1) * np.float32(bound)


def rotations(config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines [sequence, head_dim / 2] of position / base^(2 i / head_dim), float32.

    Computed in float64: an angle of 2000 radians in float32 is off by 1e-4.
    """
    channels = np.arange(0, config.head_dim, 2)
    angles = np.outer(
        np.arange(config.sequence), config.rotary_base ** -(channels / config.head_dim)
    )
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@dataclass(frozen=True)
class AdamRule:
    """Weights that AdamW trains with one learning rate. Their weight decay is zero."""

    names: tuple[str, ...]
    learning_rate: float
    beta1: float
    eps: float


def adam_rules(config: TrainConfig) -> tuple[AdamRule, ...]:
    """The embeddings, the head and the scalars, as upstream groups them."""
    scale = (config.width / SCALE_WIDTH) ** -0.5
    values = (f"value_embeddings.{i}" for i in range(config.depth) if config.has_value_embedding(i))
    beta1, eps, scalar_lr = config.adam_beta1, config.adam_eps, config.scalar_lr
    return (
        AdamRule(("head",), config.unembedding_lr * scale, beta1, eps),
        AdamRule(("token_embedding", *values), config.embedding_lr * scale, beta1, eps),
        AdamRule(("residual_lambdas",), scalar_lr * RESIDUAL_LR_RATIO, beta1, config.scalar_eps),
        AdamRule(("embedding_lambdas",), scalar_lr, EMBEDDING_LAMBDA_BETA1, config.scalar_eps),
    )


def muon_stacks(config: TrainConfig) -> dict[tuple[int, int], tuple[str, ...]]:
    """The blocks' matrices, which Muon trains: the names of each shape."""
    stacks: dict[tuple[int, int], tuple[str, ...]] = {}
    for layer in range(config.depth):
        for name, (rows, columns) in _block(config, layer).items():
            known = stacks.get((rows, columns), ())
            stacks[rows, columns] = (*known, f"layers.{layer}.{name}")
    return stacks


def muon_rate_factor(rows: int, columns: int) -> float:
    """A tall matrix learns faster by this factor."""
    return max(1.0, rows / columns) ** 0.5
