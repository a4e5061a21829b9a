"""The contract of `value_embed_gate`: adds a second embedding of the tokens to attention's values.

A gate per token and head, read from the first channels of the layer's input, says how much.
"""

from math import prod
from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

READ = ("batch", "sequence", "width")
GATE = ("heads", "channels")
AXES = ("batch", "sequence", "heads", "head_dim")


def gate(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Rows that bring the sigmoid from 0.1 to 0.9 with x of unit size, or `decades` less."""
    size = 1.5 * dims["channels"] ** -0.5 * 10.0 ** -dims["decades"]
    return size * generator.standard_normal(shape)


def _case(
    name: str,
    batch: int,
    sequence: int,
    width: int,
    channels: int,
    heads: int,
    head_dim: int,
    decades: int = 0,
    **how: object,
) -> Case:
    dims = {"batch": batch, "sequence": sequence, "width": width, "channels": channels}
    dims |= {"heads": heads, "head_dim": head_dim, "decades": decades}
    return Case(name, dims, **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """The values of one layer and micro-batch."""
    sizes = (shape.batch, shape.sequence, shape.width, shape.gate_channels)
    return (_case("train", *sizes, shape.heads, shape.head_dim, purpose="train"),)


def cost(dims: Dims, itemsize: int) -> Cost:
    """With n values, t tokens and g = t heads gates.

    Forward reads value, embedding, weight and x, of which it needs the gate's channels only, and
    writes y. A product of 2 g channels FLOPs, 2 per gate, 2 per value.
    Backward reads dy (which is dvalue too, and need not be written again), the embedding, the
    channels and the weight; writes the gradients of x (all of it), weight and embedding. Two
    products, 3 per value, 3 per gate.
    """
    n = prod(dims[axis] for axis in AXES)
    tokens, heads = dims["batch"] * dims["sequence"], dims["heads"]
    channels = dims["channels"]
    product, weight = 2 * tokens * heads * channels, heads * channels
    return Cost(
        bytes_forward=(3 * n + tokens * channels + weight) * itemsize,
        flops_forward=product + 2 * tokens * heads + 2 * n,
        bytes_backward=(3 * n + tokens * (dims["width"] + channels) + 2 * weight) * itemsize,
        flops_backward=2 * product + 3 * n + 3 * tokens * heads,
    )


TARGET = Target(
    summary="y = value + 2 sigmoid(x[..., :channels] weight^T)[head] embedding",
    # Where x or the weight is many times larger, by one channel even, the sigmoid is shut or open
    # to within 1e-20, and no digit of its slope is left in float64.
    inputs=(
        Input("x", READ, without=("large", "outliers")),
        Input("weight", GATE, gate, without=("large", "outliers")),
        Input("value", AXES),
        Input("embedding", AXES),
    ),
    outputs=(Output("y", AXES),),
    train_cases=train_cases,
    odd_cases=(
        _case("single_token", 1, 1, 33, 32, 2, 16),
        _case("one_channel", 2, 127, 16, 1, 3, 8),
        _case("all_channels", 2, 33, 24, 24, 2, 32),
        _case("long_sequence", 1, 513, 48, 32, 1, 9),
        _case("strided", 2, 33, 64, 32, 3, 16, layout="strided"),
        _case("large_and_small", 2, 33, 64, 32, 2, 32, decades=6, scale=1e3),
        _case("small_magnitude", 2, 33, 64, 32, 2, 32, scale=1e-3),
        _case("tiny_gradients", 2, 33, 64, 32, 2, 32, gradient_scale=1e-8),
    ),
    # No width is less than the channels.
    ranges=MappingProxyType(
        {
            "batch": Range(1, 1024),
            "sequence": Range(1, 65536),
            "width": Range(32, 16384),
            "channels": Range(1, 32),
            "heads": Range(1, 128),
            "head_dim": Range(2, 512, multiple=2),
            "decades": Range(0, 0),
        }
    ),
    cost=cost,
    independent="batch",
)
