"""The contract of `sliding_window_attention`: causal attention that sees `window` positions back.

The window belongs to the case: layers differ in it. Keys and values have as many heads as queries,
as in the trainer.
"""

from collections import Counter
from math import prod
from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

AXES = ("batch", "sequence", "heads", "head_dim")
ILL_CONDITIONED = ("large", "outliers")
"""Families in which scores of thousands differ by less than their rounding: which key wins the
softmax is then chance, and its gradient noise."""
EXACT_BY_CHANCE = ("sparse", "late")
"""The first position sees itself alone, so the gradient of its q is rounding noise around zero. Of
sums with few terms, one implementation makes exactly zero, and another as good does not."""


def vectors(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Queries or keys of about the size that the trainer's norm gives them.

    With `divisor` they are that much smaller, so that a case's scale enlarges the values alone.
    """
    return generator.standard_normal(shape) / dims.get("divisor", 1)


def _case(name: str, *sizes: int, divisor: int = 1, **how: object) -> Case:
    dims = dict(zip((*AXES, "window"), sizes, strict=True))
    return Case(name, {**dims, "divisor": divisor}, **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """One layer's micro-batch for each window that there is."""
    sizes = (shape.batch, shape.sequence, shape.heads, shape.head_dim)
    windows = Counter(shape.windows or (shape.sequence,))
    return tuple(
        _case(f"train_window_{window}", *sizes, window, purpose="train", calls=layers)
        for window, layers in windows.items()
    )


def pairs(dims: Dims) -> int:
    """How many keys all queries of one head and sequence see together, themselves included."""
    reach = min(dims["window"], dims["sequence"] - 1)
    return dims["sequence"] * (reach + 1) - reach * (reach + 1) // 2


def cost(dims: Dims, itemsize: int) -> Cost:
    """With n elements in each tensor, and the pairs of a query and a key that it sees.

    Forward reads q, k and v and writes y. A pair takes a multiply-add per channel for its score and
    one for the value; the softmax is not counted. Backward reads the three again with the incoming
    gradient and writes three gradients: of a pair the gradients of its score, of q, of k and of v.
    """
    n = prod(dims[axis] for axis in AXES)
    product = 2 * dims["batch"] * dims["heads"] * dims["head_dim"] * pairs(dims)
    return Cost(
        bytes_forward=4 * n * itemsize,
        flops_forward=2 * product,
        bytes_backward=7 * n * itemsize,
        flops_backward=4 * product,
    )


TARGET = Target(
    summary="softmax(q k' / sqrt(head_dim)) v over each position's own and `window` before it",
    inputs=(
        Input("q", AXES, vectors, without=ILL_CONDITIONED),
        Input("k", AXES, vectors, without=ILL_CONDITIONED),
        Input("v", AXES, without=EXACT_BY_CHANCE),
    ),
    outputs=(Output("y", AXES),),
    scalars=MappingProxyType({"window": None}),
    train_cases=train_cases,
    odd_cases=(
        _case("odd_sizes", 2, 127, 3, 24, 31),
        _case("window_of_one", 2, 33, 2, 32, 1),
        _case("all_but_the_first", 2, 33, 2, 32, 31),
        _case("just_all", 2, 33, 2, 32, 32),
        _case("window_beyond_the_sequence", 1, 65, 2, 40, 1000),
        _case("shortest", 3, 16, 3, 16, 5),
        _case("long_sequence", 1, 513, 1, 16, 100),
        _case("strided", 2, 49, 3, 32, 20, layout="strided"),
        _case("large_values", 2, 33, 2, 32, 12, divisor=1000, scale=1e3),
        _case("tiny_gradients", 2, 33, 2, 32, 12, gradient_scale=1e-8),
    ),
    ranges=MappingProxyType(
        {
            "batch": Range(1, 1024),
            # The first position sees itself alone, so its q has no gradient. What rounding makes
            # of that is measured by the others, of which there must be some.
            "sequence": Range(16, 65536),
            "heads": Range(1, 128),
            "head_dim": Range(8, 256, multiple=8),
            "window": Range(1, 65536),
        }
    ),
    cost=cost,
    independent="batch",
)
