"""The contract of `relu_squared`: the activation of the MLP."""

from math import prod
from types import MappingProxyType

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

AXES = ("batch", "sequence", "hidden")


def _case(name: str, batch: int, sequence: int, hidden: int, **how: object) -> Case:
    return Case(name, dict(zip(AXES, (batch, sequence, hidden), strict=True)), **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """The hidden layer, four times as wide as the residual stream, of one micro-batch."""
    return (_case("train", shape.batch, shape.sequence, 4 * shape.width, purpose="train"),)


def cost(dims: Dims, itemsize: int) -> Cost:
    """With n elements.

    Forward reads x and writes y: 2 n. A maximum and a multiplication: 2 n FLOPs.
    Backward reads dy and x (or what stands for it) and writes dx: 3 n. It is 2 max(x, 0) dy: a
    maximum and two multiplications, 3 n FLOPs.
    """
    n = prod(dims[axis] for axis in AXES)
    return Cost(2 * n * itemsize, 2 * n, 3 * n * itemsize, 3 * n)


# No case has a single element: were it negative, zero would be the right answer.
TARGET = Target(
    summary="y = max(x, 0)^2, element by element",
    inputs=(Input("x", AXES),),
    outputs=(Output("y", AXES),),
    train_cases=train_cases,
    odd_cases=(
        _case("single_token", 1, 1, 127),
        _case("single_column", 3, 127, 1),
        _case("odd_sizes", 3, 127, 513),
        _case("strided", 2, 65, 96, layout="strided"),
        _case("large_magnitude", 2, 33, 160, scale=1e4),
        _case("small_magnitude", 2, 33, 160, scale=1e-6),
        _case("tiny_gradients", 2, 33, 160, gradient_scale=1e-8),
    ),
    ranges=MappingProxyType(
        {
            "batch": Range(1, 1024),
            "sequence": Range(1, 65536),
            "hidden": Range(1, 65536),
        }
    ),
    cost=cost,
    independent="batch",
)
