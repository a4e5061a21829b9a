"""The contract of `fused_mlp`: both matrices of the MLP and relu squared between them.

A larger op: the trainer runs `mlp_up`, `relu_squared` and `mlp_down` until a whole one is let in.
"""

from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

AXES = ("batch", "sequence", "width")
UP, DOWN = ("hidden", "width"), ("width", "hidden")


def matrix(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Normal, of a size that keeps the size of what is multiplied: 1 / sqrt(columns)."""
    return shape[1] ** -0.5 * generator.standard_normal(shape)


def _case(name: str, batch: int, sequence: int, width: int, hidden: int, **how: object) -> Case:
    dims = dict(zip((*AXES, "hidden"), (batch, sequence, width, hidden), strict=True))
    return Case(name, dims, **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """The MLP of one layer and micro-batch; its hidden layer is four times as wide."""
    sizes = (shape.batch, shape.sequence, shape.width, 4 * shape.width)
    return (_case("train", *sizes, purpose="train"),)


def cost(dims: Dims, itemsize: int) -> Cost:
    """With t tokens; the hidden layer is neither read nor written.

    Forward reads x and both matrices and writes y. Two products of 2 t width hidden FLOPs and 2
    per hidden value.
    Backward reads them again with dy and writes three gradients. Four products and 3 per hidden
    value; that it may have to make the hidden layer anew is not counted.
    """
    tokens, width, hidden = dims["batch"] * dims["sequence"], dims["width"], dims["hidden"]
    stream, matrices, inner = tokens * width, 2 * width * hidden, tokens * hidden
    return Cost(
        bytes_forward=(2 * stream + matrices) * itemsize,
        flops_forward=inner * (4 * width + 2),
        bytes_backward=(3 * stream + 2 * matrices) * itemsize,
        flops_backward=inner * (8 * width + 3),
    )


# No case has a handful of hidden values only: were all negative, zero would be the right answer.
TARGET = Target(
    summary="y = max(x up^T, 0)^2 down^T, the hidden layer not in memory",
    inputs=(Input("x", AXES), Input("up", UP, matrix), Input("down", DOWN, matrix)),
    outputs=(Output("y", AXES),),
    train_cases=train_cases,
    odd_cases=(
        _case("single_token", 1, 1, 33, 127),
        _case("narrow", 3, 33, 8, 16),
        _case("odd_sizes", 2, 65, 65, 513),
        _case("strided", 2, 33, 48, 96, layout="strided"),
        _case("large_magnitude", 2, 33, 64, 160, scale=1e3),
        _case("small_magnitude", 2, 33, 64, 160, scale=1e-3),
        _case("tiny_gradients", 2, 33, 64, 160, gradient_scale=1e-8),
    ),
    ranges=MappingProxyType(
        {
            "batch": Range(1, 1024),
            "sequence": Range(1, 65536),
            "width": Range(8, 16384),
            "hidden": Range(16, 65536),
        }
    ),
    cost=cost,
    independent="batch",
    parts=("mlp_up", "relu_squared", "mlp_down"),
    contains=MappingProxyType({"relu_squared": "all"}),
)
