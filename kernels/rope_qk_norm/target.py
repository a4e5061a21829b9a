"""The contract of `rope_qk_norm`: rotary embedding of queries and keys, then their RMS norm."""

from math import prod
from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

AXES = ("batch", "sequence", "heads", "head_dim")
TABLE = ("sequence", "half")
BASE = 10000.0


def vectors_of_varied_size(
    generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]
) -> np.ndarray:
    """Normal vectors, each a quarter to four times the unit size but never near it."""
    octaves = generator.uniform(1.0, 2.0, shape[:-1]) * generator.choice((-1.0, 1.0), shape[:-1])
    return generator.standard_normal(shape) * np.exp2(octaves)[..., None]


def angles(dims: Dims) -> np.ndarray:
    """[sequence, half]: position times BASE^(-2 i / head_dim), from `first_position` on."""
    positions = dims["first_position"] + np.arange(dims["sequence"], dtype=np.float64)
    frequencies = BASE ** (-np.arange(dims["half"], dtype=np.float64) / dims["half"])
    return positions[:, None] * frequencies


def cosines(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """The cosine of each angle; not random, as the sine must belong to it."""
    return np.cos(angles(dims))


def sines(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """The sine of each angle."""
    return np.sin(angles(dims))


def _case(name: str, *sizes: int, first_position: int = 0, **how: object) -> Case:
    dims = dict(zip(AXES, sizes, strict=True))
    dims |= {"half": dims["head_dim"] // 2, "first_position": first_position}
    return Case(name, dims, **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """The queries and keys of one layer and micro-batch."""
    sizes = (shape.batch, shape.sequence, shape.heads, shape.head_dim)
    return (_case("train", *sizes, purpose="train"),)


def cost(dims: Dims, itemsize: int) -> Cost:
    """With n elements in each of q and k, not counting the few operations per vector.

    Forward reads and writes both and reads the two tables: 4 n + tables. An element of a rotation
    takes two multiplications and an addition, of a norm a square, an addition and a scale: 6 each.
    Backward reads both incoming gradients and what was kept of q and k (n each), writes both
    gradients: 6 n + tables. The norm's backward takes 5 per element, the inverse rotation 3.
    """
    n = prod(dims[axis] for axis in AXES)
    tables = 2 * dims["sequence"] * dims["half"]
    return Cost(
        bytes_forward=(4 * n + tables) * itemsize,
        flops_forward=2 * 6 * n,
        bytes_backward=(6 * n + tables) * itemsize,
        flops_backward=2 * 8 * n,
    )


TARGET = Target(
    summary="rotates q and k by their positions (half-split pairs), then RMS-normalises each head",
    inputs=(
        Input("q", AXES, vectors_of_varied_size),
        Input("k", AXES, vectors_of_varied_size),
        Input("cos", TABLE, cosines, differentiable=False, scaled=False),
        Input("sin", TABLE, sines, differentiable=False, scaled=False),
    ),
    outputs=(Output("rotated_q", AXES), Output("rotated_k", AXES)),
    scalars=MappingProxyType({"eps": 2.0**-23}),
    train_cases=train_cases,
    odd_cases=(
        _case("single_position", 2, 1, 3, 64, first_position=1000),
        _case("smallest_head", 2, 127, 2, 2),
        _case("odd_sizes", 3, 127, 5, 34),
        _case("long_sequence", 1, 513, 1, 32),
        _case("far_positions", 2, 33, 2, 64, first_position=8191),
        _case("strided", 2, 33, 3, 48, layout="strided"),
        _case("large_magnitude", 2, 33, 2, 64, scale=1e4),
        _case("eps_decides", 2, 33, 2, 64, scale=1e-4),
        _case("tiny_gradients", 2, 33, 2, 64, gradient_scale=1e-8),
    ),
    ranges=MappingProxyType(
        {
            "batch": Range(1, 1024),
            "sequence": Range(1, 65536),
            "heads": Range(1, 128),
            "head_dim": Range(2, 512, multiple=2),
            "first_position": Range(0, 65536),
        }
    ),
    derived=MappingProxyType({"half": ("head_dim", 2)}),
    cost=cost,
    independent="batch",
)
