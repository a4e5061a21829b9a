"""The contract of `attention_prelude`: from a layer's normed input to what attention reads.

A larger op: the trainer runs `qkv_projection` and `rope_qk_norm` until a whole one is let in. The
matrices come with their rows by head, as the trainer's [width, width] can be viewed.
"""

from math import prod
from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

STREAM = ("batch", "sequence", "width")
MATRIX = ("heads", "head_dim", "width")
AXES = ("batch", "sequence", "heads", "head_dim")
TABLE = ("sequence", "half")
BASE = 10000.0


def matrix(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Normal heads of varied size, so that the norm after them has something to do."""
    octaves = generator.uniform(1.0, 2.0, shape[:1]) * generator.choice((-1.0, 1.0), shape[:1])
    size = shape[2] ** -0.5 * np.exp2(octaves)[:, None, None]
    return size * generator.standard_normal(shape)


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
    dims = dict(zip((*AXES, "width"), sizes, strict=True))
    dims |= {"half": dims["head_dim"] // 2, "first_position": first_position}
    return Case(name, dims, **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """One layer and micro-batch."""
    sizes = (shape.batch, shape.sequence, shape.heads, shape.head_dim, shape.width)
    return (_case("train", *sizes, purpose="train"),)


def cost(dims: Dims, itemsize: int) -> Cost:
    """With t tokens and n elements in each of q, k and v.

    Forward reads x, three matrices and two tables and writes 3 n. Three products of 2 n width
    FLOPs; q and k take 6 each per element, as in `rope_qk_norm`.
    Backward reads them again with 3 n of incoming gradients and writes the gradients of x and the
    matrices. Six products, and 8 each per element of q and k.
    """
    n = prod(dims[axis] for axis in AXES)
    stream = dims["batch"] * dims["sequence"] * dims["width"]
    matrices = 3 * prod(dims[axis] for axis in MATRIX)
    tables = 2 * dims["sequence"] * dims["half"]
    return Cost(
        bytes_forward=(stream + matrices + tables + 3 * n) * itemsize,
        flops_forward=6 * n * dims["width"] + 12 * n,
        bytes_backward=(2 * stream + 2 * matrices + tables + 3 * n) * itemsize,
        flops_backward=12 * n * dims["width"] + 16 * n,
    )


TARGET = Target(
    summary="q, k, v = x by three matrices; q and k by rope_qk_norm",
    inputs=(
        Input("x", STREAM),
        Input("query", MATRIX, matrix),
        Input("key", MATRIX, matrix),
        Input("value", MATRIX, matrix),
        Input("cos", TABLE, cosines, differentiable=False, scaled=False),
        Input("sin", TABLE, sines, differentiable=False, scaled=False),
    ),
    outputs=(Output("rotated_q", AXES), Output("rotated_k", AXES), Output("v", AXES)),
    scalars=MappingProxyType({"eps": 2.0**-23}),
    train_cases=train_cases,
    odd_cases=(
        _case("single_position", 2, 1, 3, 16, 33, first_position=1000),
        _case("odd_sizes", 2, 127, 3, 18, 47),
        _case("long_sequence", 1, 513, 1, 16, 24),
        _case("strided", 2, 33, 2, 24, 48, layout="strided"),
        _case("large_magnitude", 2, 33, 2, 32, 64, scale=1e3),
        _case("eps_decides", 2, 33, 2, 32, 64, scale=1e-2),
        _case("tiny_gradients", 2, 33, 2, 32, 64, gradient_scale=1e-8),
    ),
    ranges=MappingProxyType(
        {
            "batch": Range(1, 1024),
            "sequence": Range(1, 65536),
            "heads": Range(1, 128),
            "head_dim": Range(8, 512, multiple=2),
            "width": Range(8, 16384),
            "first_position": Range(0, 65536),
        }
    ),
    derived=MappingProxyType({"half": ("head_dim", 2)}),
    cost=cost,
    independent="batch",
    parts=("qkv_projection", "rope_qk_norm"),
    contains=MappingProxyType({"rope_qk_norm": "all"}),
)
