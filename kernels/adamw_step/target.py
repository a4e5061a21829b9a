"""The contract of `adamw_step`: one AdamW update of one table, without weight decay.

The trainer updates its embeddings and the head in place, by torch's own; it does so until a whole
implementation is let in. That one is a function: it returns the weights and moments anew and leaves
what it was given, so that it can be verified like any other op. The trainer then takes over what
it returns without copying. The lambdas, a handful of numbers, stay with torch.
"""

from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

AXES = ("weights",)
ONE = ("one",)
RATE_BYTES = 4


def squares(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """A running mean of squared gradients: positive, of varied size, or so many `decades` less."""
    size = np.exp2(generator.uniform(-4, 1, shape)) * 10.0 ** -dims["decades"]
    return generator.standard_normal(shape) ** 2 * size


def rate(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """A learning rate at which neither the old weight nor the update is lost in rounding."""
    return generator.uniform(0.1, 0.6, shape)


def steps(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """The number of this step, from 1: the first ones have large bias corrections."""
    return np.floor(np.exp2(generator.uniform(0.0, 12.0, shape)))


def _case(name: str, weights: int, decades: int = 0, **how: object) -> Case:
    return Case(name, {"weights": weights, "one": 1, "decades": decades}, **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """One table of the vocabulary: the token embedding, a value embedding or the head."""
    return (_case("train", shape.vocab * shape.width, purpose="train"),)


def cost(dims: Dims, itemsize: int) -> Cost:
    """With n weights; it has no backward.

    Reads weight, gradient and both moments, writes weight and moments: 7 n. Two moments (3 + 4),
    root, division, epsilon, step and two bias corrections: 12 n FLOPs.
    """
    n = dims["weights"]
    return Cost(7 * n * itemsize + 2 * RATE_BYTES, 12 * n)


def _input(name: str, draw: object = None) -> Input:
    how = {} if draw is None else {"draw": draw}
    return Input(name, AXES, differentiable=False, **how)  # type: ignore[arg-type]


TARGET = Target(
    summary="AdamW: new moments, then weight - rate m^ / (sqrt(v^) + eps), bias corrected",
    inputs=(
        _input("weight"),
        _input("gradient"),
        _input("first"),
        _input("second", squares),
        Input("rate", ONE, rate, differentiable=False, scaled=False, dtype="float32"),
        Input("step", ONE, steps, differentiable=False, scaled=False, dtype="float32"),
    ),
    outputs=(
        Output("new_weight", AXES),
        Output("new_first", AXES),
        Output("new_second", AXES),
    ),
    scalars=MappingProxyType({"beta1": 0.8, "beta2": 0.95, "eps": 1e-10}),
    dtypes=("float32",),
    train_cases=train_cases,
    odd_cases=(
        _case("few", 127),
        _case("odd_size", 513),
        _case("two_blocks", 2 * 4096 + 1),
        _case("strided", 6240, layout="strided"),
        _case("large_magnitude", 5280, scale=1e4),
        # Gradients and the root of the second moment are near 1e-8, eps is a hundredth of that.
        _case("eps_decides", 5280, decades=8, scale=1e-8),
    ),
    # A single weight or two may come out as they went in, by chance.
    ranges=MappingProxyType(
        {"weights": Range(16, 2**30), "one": Range(1, 1), "decades": Range(0, 0)}
    ),
    cost=cost,
    independent="weights",
    parts=("adamw",),
)
