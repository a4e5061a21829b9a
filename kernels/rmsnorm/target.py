"""The contract of `rmsnorm`: normalises every token's channels by their root mean square."""

from math import prod
from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

AXES = ("batch", "sequence", "width")


def tokens_of_varied_size(
    generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]
) -> np.ndarray:
    """Normal rows, each a quarter to four times the unit size but never near it.

    Tokens differ in size in a real residual stream, too. Were all of unit size, the result would
    nearly be a copy of the input.
    """
    octaves = generator.uniform(1.0, 2.0, shape[:-1]) * generator.choice((-1.0, 1.0), shape[:-1])
    return generator.standard_normal(shape) * np.exp2(octaves)[..., None]


def _case(name: str, batch: int, sequence: int, width: int, **how: object) -> Case:
    return Case(name, dict(zip(AXES, (batch, sequence, width), strict=True)), **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """The residual stream of one micro-batch."""
    return (_case("train", shape.batch, shape.sequence, shape.width, purpose="train"),)


def cost(dims: Dims, itemsize: int) -> Cost:
    """With n elements, not counting the few operations per row.

    Forward reads x and writes y: 2 n. It squares, adds and scales: 3 n FLOPs.
    Backward reads dy and either x or y, and writes dx: 3 n. It is (dy - y mean(dy y)) / rms: the
    product, the sum, the multiply-subtract (2) and the scale: 5 n FLOPs.
    """
    n = prod(dims[axis] for axis in AXES)
    return Cost(2 * n * itemsize, 3 * n, 3 * n * itemsize, 5 * n)


TARGET = Target(
    summary="y = x / sqrt(mean(x^2) + eps) over the last dim, without a weight",
    inputs=(Input("x", AXES, tokens_of_varied_size),),
    outputs=(Output("y", AXES),),
    scalars=MappingProxyType({"eps": 2.0**-23}),
    train_cases=train_cases,
    odd_cases=(
        _case("single_token", 1, 1, 7),
        _case("single_position", 5, 1, 127),
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
        }
    ),
    cost=cost,
    independent="batch",
)
