"""The contract of `residual_rmsnorm`: mixes the stream with the embedding, then normalises it.

A larger op: the trainer runs `residual_mix` and `rmsnorm` until a whole one is let in. Both results
are used, the mixed stream by the residual connection and its norm by attention.
"""

from math import prod
from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

AXES = ("batch", "sequence", "width")
ONE = ("one",)
LAMBDA_BYTES = 4


def tokens_of_varied_size(
    generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]
) -> np.ndarray:
    """Normal rows, each scaled by up to 4 or down to 1/4 but never near 1, as for `rmsnorm`."""
    octaves = generator.uniform(1.0, 2.0, shape[:-1]) * generator.choice((-1.0, 1.0), shape[:-1])
    return generator.standard_normal(shape) * np.exp2(octaves)[..., None]


def factor(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Between 0.4 and 1.6 but never near 1, of either sign: learned, and nobody's constant."""
    away = generator.uniform(0.2, 0.6, shape) * generator.choice((-1.0, 1.0), shape)
    return (1.0 + away) * generator.choice((-1.0, 1.0), shape)


def _case(name: str, batch: int, sequence: int, width: int, **how: object) -> Case:
    dims = dict(zip(AXES, (batch, sequence, width), strict=True)) | {"one": 1}
    return Case(name, dims, **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """The residual stream of one micro-batch before one layer."""
    return (_case("train", shape.batch, shape.sequence, shape.width, purpose="train"),)


def cost(dims: Dims, itemsize: int) -> Cost:
    """With n elements, not counting the few operations per row.

    Forward reads x and x0 and writes both results: 4 n. Two products and an addition, then square,
    addition and scale: 6 n FLOPs.
    Backward reads the two incoming gradients, x and x0 (of which the norm's input follows) and
    writes two gradients: 6 n. The norm's takes 5 n, adding the other n, the two scaled gradients
    2 n, the two inner products 4 n: 12 n FLOPs.
    """
    n, lambdas = prod(dims[axis] for axis in AXES), 2 * LAMBDA_BYTES
    return Cost(4 * n * itemsize + lambdas, 6 * n, 6 * n * itemsize + 2 * lambdas, 12 * n)


TARGET = Target(
    summary="mixed = kept x + added x0, and mixed / sqrt(mean(mixed^2) + eps)",
    inputs=(
        Input("x", AXES, tokens_of_varied_size),
        Input("x0", AXES, tokens_of_varied_size),
        Input("kept", ONE, factor, scaled=False, dtype="float32"),
        Input("added", ONE, factor, scaled=False, dtype="float32"),
    ),
    outputs=(Output("mixed", AXES), Output("y", AXES)),
    scalars=MappingProxyType({"eps": 2.0**-23}),
    train_cases=train_cases,
    odd_cases=(
        _case("single_token", 1, 1, 65),
        _case("smallest_width", 2, 127, 2),
        _case("odd_sizes", 3, 127, 513),
        _case("strided", 2, 65, 96, layout="strided"),
        _case("large_magnitude", 2, 33, 160, scale=1e4),
        _case("eps_decides", 2, 33, 160, scale=1e-4),
        _case("tiny_gradients", 2, 33, 160, gradient_scale=1e-8),
    ),
    ranges=MappingProxyType(
        {
            "batch": Range(1, 1024),
            "sequence": Range(1, 65536),
            "width": Range(2, 16384),
            "one": Range(1, 1),
        }
    ),
    cost=cost,
    independent="batch",
    parts=("residual_mix", "rmsnorm"),
    contains=MappingProxyType({"rmsnorm": "some"}),
)
