"""The contract of `linear_softcap_cross_entropy`: from the last norm to the loss of each token.

A larger op: the head's product and `softcap_cross_entropy` in one, so that the logits need never
be in memory all at once. The trainer runs the two parts until a whole one is let in.
"""

from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

LOGIT_SIZE = 4.0
"""Standard deviation of the logits: far enough into the soft cap of 15 for its bend to show."""
IGNORED = -1
TARGET_BYTES, LOSS_BYTES = 8, 4


def head(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Rows that make logits of LOGIT_SIZE from x of unit size, or so many `decades` less."""
    size = LOGIT_SIZE * dims["width"] ** -0.5 * 10.0 ** -dims["decades"]
    return size * generator.standard_normal(shape)


def classes(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform classes, `ignored_percent` of them ignored; the first counts, so one always does."""
    drawn = generator.integers(dims["vocab"], size=shape)
    ignored = generator.random(shape) < dims["ignored_percent"] / 100
    ignored[0] = False
    return np.where(ignored, IGNORED, drawn)


def _case(
    name: str,
    tokens: int,
    width: int,
    vocab: int,
    ignored_percent: int = 5,
    decades: int = 0,
    **how: object,
) -> Case:
    dims = {"tokens": tokens, "width": width, "vocab": vocab}
    dims |= {"ignored_percent": ignored_percent, "decades": decades}
    return Case(name, dims, **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """The head and the loss of one micro-batch."""
    return (_case("train", shape.tokens, shape.width, shape.vocab, purpose="train"),)


def cost(dims: Dims, itemsize: int) -> Cost:
    """With n = tokens x vocab logits, which are neither read nor written.

    Forward reads x, the head and the targets and writes the losses. A product of 2 n width FLOPs,
    then 5 per logit as in `softcap_cross_entropy`.
    Backward reads them again with the incoming gradients and writes two gradients. Two products
    and 6 FLOPs per logit; that it may have to make the logits anew is not counted.
    """
    tokens, width, vocab = dims["tokens"], dims["width"], dims["vocab"]
    n, weights = tokens * vocab, (tokens + vocab) * width
    beside = tokens * (TARGET_BYTES + LOSS_BYTES)
    return Cost(
        bytes_forward=weights * itemsize + beside,
        flops_forward=n * (2 * width + 5),
        bytes_backward=2 * weights * itemsize + beside,
        flops_backward=n * (4 * width + 6),
    )


# No case ignores every target: zero would be the right answer.
TARGET = Target(
    summary="softcap_cross_entropy(x head^T, targets) without the logits in memory, in float32",
    # x or a head many times larger puts all of a row far beyond the cap, where its gradient is
    # 1 - tanh^2 = 1e-20 and no float64 can tell it from 0; one channel does it as well as all.
    inputs=(
        Input("x", ("tokens", "width"), without=("large", "outliers")),
        Input("head", ("vocab", "width"), head, without=("large", "outliers")),
        Input("targets", ("tokens",), classes, differentiable=False, kind="index"),
    ),
    outputs=(Output("loss", ("tokens",), dtype="float32"),),
    scalars=MappingProxyType({"softcap": 15.0}),
    train_cases=train_cases,
    odd_cases=(
        _case("single_token", 1, 33, 513),
        _case("two_classes", 127, 16, 2),
        _case("odd_sizes", 127, 65, 259),
        _case("mostly_ignored", 65, 32, 129, ignored_percent=90),
        _case("strided", 65, 48, 160, layout="strided"),
        _case("saturated", 33, 64, 257, scale=2.0),
        _case("large_and_small", 33, 64, 257, decades=6, scale=1e3),
        _case("tiny_gradients", 33, 64, 257, gradient_scale=1e-8),
    ),
    ranges=MappingProxyType(
        {
            "tokens": Range(1, 2**20),
            "width": Range(8, 16384),
            "vocab": Range(2, 2**18),
            "ignored_percent": Range(0, 90),
            "decades": Range(0, 0),
        }
    ),
    cost=cost,
    independent="tokens",
    parts=("head_projection", "softcap_cross_entropy"),
    contains=MappingProxyType({"softcap_cross_entropy": "all"}),
)
