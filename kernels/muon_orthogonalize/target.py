"""The contract of `muon_orthogonalize`: Muon's approximate polar factor of a stack of matrices."""

from math import ceil, log2
from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

AXES = ("count", "rows", "columns")
STEPS = 5


def gradients(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Normal matrices of varied size; with `decades`, singular values that fall off by as many.

    Gradients of trained models are ill-conditioned, and that is where a short cut through the Gram
    matrix, which squares the condition number, comes apart. The sizes differ from layer to layer,
    and the result must not.
    """
    drawn = generator.standard_normal(shape)
    if dims["decades"]:
        left, _, right = np.linalg.svd(drawn, full_matrices=False)
        drawn = (left * np.logspace(0, -dims["decades"], min(shape[1:]))) @ right
    return drawn * np.exp2(generator.uniform(-2.0, 2.0, (shape[0], 1, 1)))


def _case(name: str, count: int, rows: int, columns: int, decades: int = 0, **how: object) -> Case:
    dims = {"count": count, "rows": rows, "columns": columns, "decades": decades}
    return Case(name, dims, **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """One case per stack of the optimizer, `train_512x2048x8` for eight matrices [512, 2048]."""
    return tuple(
        _case(f"train_{rows}x{columns}x{count}", count, rows, columns, purpose="train")
        for count, rows, columns in shape.matrices
    )


def cost(dims: Dims, itemsize: int) -> Cost:
    """Per matrix with m the shorter and n the longer side; it has no backward.

    Reads the gradient and writes the result: 2 m n. The result is X q(X X^T) for a polynomial q of
    degree (5^STEPS - 1) / 2, so no scheme gets by with less than the Gram matrix (symmetric: m^2 n
    FLOPs), as many products of symmetric m x m matrices (m^3 each) as it takes to reach the degree
    by doubling, and one product with X (2 m^2 n). Iterating on X costs 4 m^2 n + 2 m^3 per step.
    """
    m, n = sorted((dims["rows"], dims["columns"]))
    products = ceil(log2((5**STEPS - 1) / 2))
    flops = 3 * m * m * n + products * m**3
    return Cost(dims["count"] * 2 * m * n * itemsize, dims["count"] * flops)


TARGET = Target(
    summary="Polar Express: five steps of X <- a X + (b A + c A^2) X, A = X X^T, towards U V^T",
    # Rows that are constant are multiples of each other. Five steps raise what rounding leaves of
    # the singular values that are then zero a thousandfold, so in bfloat16 no digit is right.
    inputs=(Input("gradient", AXES, gradients, differentiable=False, without=("flat",)),),
    outputs=(Output("orthogonalized", AXES),),
    scalars=MappingProxyType({"steps": float(STEPS)}),
    train_cases=train_cases,
    odd_cases=(
        _case("single_elements", 40, 1, 1),
        _case("single_row", 3, 1, 127),
        _case("single_column", 3, 513, 1),
        _case("wide", 2, 33, 127),
        _case("tall", 2, 127, 33),
        _case("square", 3, 65, 65),
        _case("strided", 2, 48, 80, layout="strided"),
        # With a scale of their own, so that the judge adds no spikes: they would set the spectrum.
        _case("ill_conditioned", 2, 40, 130, decades=3, scale=1e-2),
        _case("ill_conditioned_tall", 2, 130, 40, decades=2, scale=1e-2),
        _case("large_magnitude", 2, 40, 40, scale=1e4),
        _case("eps_decides", 2, 40, 40, scale=1e-8),
    ),
    # The shorter side is no shorter than this: with few singular values the error of a whole matrix
    # is one draw, and between two honest implementations on 3791 x 1 it differed up to 370 times.
    # No decades: a spike on top sets the spectrum, as above; the odd cases have them.
    ranges=MappingProxyType(
        {
            "count": Range(1, 256),
            "rows": Range(16, 2048),
            "columns": Range(16, 2048),
            "decades": Range(0, 0),
        }
    ),
    cost=cost,
    independent="count",
)
